"""SASRec (Kang and McAuley, ICDM 2018): causal self-attention over the sequence."""

from typing import Literal

from torch import Tensor

from llmesr.models.attention import check_heads
from llmesr.models.backbones.base import Backbone, ModelSettings
from llmesr.models.ligr import LiGR
from llmesr.models.transformer import Positions, Transformer
from llmesr.section import Positive, Section
from llmesr.sequences import Sequences


class SASRec(Backbone):
    """Learned positions and a stack of blocks; position t predicts item t + 1."""

    name = "sasrec"
    title = "SASRec"
    objective = "every_position"

    class Settings(Section):
        """SASRec's own settings."""

        blocks: Positive = 2
        """Transformer blocks (paper: 2)."""
        heads: Positive = 1
        """Attention heads; must divide `model.hidden` (paper: 1)."""
        layers: Literal["sasrec", "ligr"] = "sasrec"
        """The blocks' make: SASRec's (paper), or eSASRec's gated ones."""
        causal: bool = True
        """Position t sees no later item (SASRec's paper: true; LLM-ESR's code: false)."""

    def __init__(
        self, settings: "SASRec.Settings", model: ModelSettings, max_length: int, *, attend_padding: bool = False
    ) -> None:
        super().__init__(settings, model, max_length)
        check_heads("backbones.sasrec.heads", settings.heads, model.hidden)
        zeros_up_to = max_length if attend_padding else None
        self.positions = Positions(model.hidden, max_length, model.dropout)
        stack = {"sasrec": Transformer, "ligr": LiGR}[settings.layers]
        self.transformer = stack(settings.blocks, model.hidden, settings.heads, model.dropout, zeros_up_to)

    def place(self, x: Tensor, sequences: Sequences) -> Tensor:
        """Scale x (N, D), add positions, drop out: (N, D)."""
        return self.positions(x, sequences)

    def encode(self, x: Tensor, sequences: Sequences) -> Tensor:
        """Turn placed item vectors x (N, D) into states (N, D)."""
        return self.transformer(x, sequences, causal=self.settings.causal)
