"""BERT4Rec (Sun et al., CIKM 2019): bidirectional self-attention, trained by cloze."""

from torch import Tensor

from llmesr.models.attention import check_heads
from llmesr.models.backbones.base import Backbone, ModelSettings
from llmesr.models.transformer import Positions, Transformer
from llmesr.section import Positive, Section, Share
from llmesr.sequences import Sequences


class BERT4Rec(Backbone):
    """Every position sees every other; hidden items are predicted, and for a recommendation an appended [MASK]."""

    name = "bert4rec"
    title = "BERT4Rec"
    objective = "cloze"

    class Settings(Section):
        """BERT4Rec's own settings."""

        blocks: Positive = 2
        """Transformer blocks (paper: 2)."""
        heads: Positive = 1
        """Attention heads; must divide `model.hidden` (paper: 1)."""
        mask_share: Share = 0.6
        """Share of positions that are hidden for the cloze task (LLM-ESR's code: 0.6)."""

    def __init__(
        self, settings: "BERT4Rec.Settings", model: ModelSettings, max_length: int, *, attend_padding: bool = False
    ) -> None:
        super().__init__(settings, model, max_length)
        check_heads("backbones.bert4rec.heads", settings.heads, model.hidden)
        zeros_up_to = max_length if attend_padding else None
        self.positions = Positions(model.hidden, max_length, model.dropout)
        self.transformer = Transformer(settings.blocks, model.hidden, settings.heads, model.dropout, zeros_up_to)

    def place(self, x: Tensor, sequences: Sequences) -> Tensor:
        """Scale x (N, D), add positions, drop out: (N, D)."""
        return self.positions(x, sequences)

    def encode(self, x: Tensor, sequences: Sequences) -> Tensor:
        """Turn placed item vectors x (N, D) into states (N, D)."""
        return self.transformer(x, sequences, causal=False)
