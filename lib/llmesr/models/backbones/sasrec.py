"""SASRec (Kang and McAuley, ICDM 2018): causal self-attention over the sequence."""

from torch import Tensor, nn

from llmesr.models.ragged import Ragged
from llmesr.models.transformer import Blocks, Positions
from llmesr.settings import Model
from llmesr.settings import SasRec as SasRecSettings


class SASRec(nn.Module):
    """Learned positions and a stack of blocks; position t predicts item t + 1."""

    objective = "every_position"

    def __init__(self, settings: SasRecSettings, model: Model, *, attend_padding: bool = False) -> None:
        super().__init__()
        self.causal = settings.causal
        self.positions = Positions(model.hidden, model.max_length, model.dropout)
        self.blocks = Blocks(settings, model, attend_padding=attend_padding)

    def place(self, x: Tensor, sequences: Ragged) -> Tensor:
        """Scale, add positions, drop out: (N, D)."""
        return self.positions(x, sequences)

    def encode(self, x: Tensor, sequences: Ragged, *, last_only: bool = False) -> Tensor:
        """Encode placed vectors (N, …, D) to states (N, …, D), or to the last ones (B, …, D)."""
        return self.blocks(x, sequences, self.causal, last_only=last_only)
