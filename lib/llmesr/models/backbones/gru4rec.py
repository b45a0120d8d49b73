"""GRU4Rec (Hidasi et al., ICLR 2016): a gated recurrent unit reads the sequence."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from llmesr.models.ragged import Ragged
from llmesr.settings import Gru4Rec as Gru4RecSettings
from llmesr.settings import Model


class GRU4Rec(nn.Module):
    """One GRU layer over item vectors; no positions, no dropout, as in LLM-ESR's code. It has no use for padding."""

    def __init__(self, settings: Gru4RecSettings, model: Model, *, attend_padding: bool = False) -> None:
        super().__init__()
        self.objective = settings.objective
        self.gru = nn.GRU(model.hidden, model.hidden, settings.layers, bias=False, batch_first=True)

    def place(self, x: Tensor, sequences: Ragged) -> Tensor:
        """Return x unchanged: recurrence knows the order by itself."""
        return x

    def encode(self, x: Tensor, sequences: Ragged, *, last_only: bool = False) -> Tensor:
        """Read (N, …, D) from left to right: states (N, …, D), or the last ones (B, …, D)."""
        order, batch_sizes = sequences.time_major
        views = x[0].numel() // x.shape[-1]
        data = F.embedding(order, x.flatten(1)).view(-1, x.shape[-1])  # (N · views, D), a step's sequences together
        states = self.gru(PackedSequence(data, batch_sizes * views))[0].data
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        wanted = back[sequences.last] if last_only else back
        return F.embedding(wanted, states.view(len(x), -1)).view(-1, *x.shape[1:])
