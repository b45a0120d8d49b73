"""BERT4Rec (Sun et al., CIKM 2019): bidirectional self-attention, trained by cloze."""

from torch import Tensor, nn

from llmesr.models.ragged import Ragged
from llmesr.models.transformer import Blocks, Positions
from llmesr.settings import Bert4Rec as Bert4RecSettings
from llmesr.settings import Model


class BERT4Rec(nn.Module):
    """Every position sees every other; hidden items are predicted, and at the end an appended [MASK]."""

    objective = "cloze"

    def __init__(self, settings: Bert4RecSettings, model: Model, *, attend_padding: bool = False) -> None:
        super().__init__()
        self.mask_share = settings.mask_share
        self.positions = Positions(model.hidden, model.max_length, model.dropout)
        self.blocks = Blocks(settings, model, attend_padding=attend_padding)

    def place(self, x: Tensor, sequences: Ragged) -> Tensor:
        """Scale, add positions, drop out: (N, D)."""
        return self.positions(x, sequences)

    def encode(self, x: Tensor, sequences: Ragged, *, last_only: bool = False) -> Tensor:
        """Encode placed vectors (N, …, D) to states (N, …, D), or to the last ones (B, …, D)."""
        return self.blocks(x, sequences, causal=False, last_only=last_only)
