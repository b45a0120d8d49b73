"""GRU4Rec (Hidasi et al., ICLR 2016): a gated recurrent unit reads the sequence."""

from torch import Tensor, nn

from llmesr.settings import Gru4Rec as Gru4RecSettings
from llmesr.settings import Model


class GRU4Rec(nn.Module):
    """One GRU layer over item vectors; no positions, no dropout, as in LLM-ESR's code."""

    def __init__(self, settings: Gru4RecSettings, model: Model) -> None:
        super().__init__()
        self.objective = settings.objective
        self.gru = nn.GRU(model.hidden, model.hidden, settings.layers, bias=False, batch_first=True)

    def place(self, x: Tensor, real: Tensor) -> Tensor:
        """Return x unchanged: recurrence knows the order by itself."""
        return x

    def encode(self, x: Tensor, real: Tensor) -> Tensor:
        """Read (B, T, D) from left to right; padding on the right is read last and harms nothing."""
        return self.gru(x)[0]
