"""GRU4Rec (Hidasi et al., ICLR 2016): a gated recurrent unit reads the sequence."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmesr.models.ragged import Ragged
from llmesr.settings import Gru4Rec as Gru4RecSettings
from llmesr.settings import Model

STRETCH = 8
"""Steps that are read at once."""


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
        """Read (N, …, D) from left to right: states (N, …, D), or the last ones (B, …, D).

        A stretch of steps at a time, by the sequences that go on so far, the longest first. PyTorch's packed sequences
        would do without the padding at a sequence's end, but on a CPU their gradient takes steps × N work.
        """
        longest_first = torch.argsort(sequences.lengths, descending=True, stable=True)
        first, lengths = sequences.offsets[longest_first, None], sequences.lengths[longest_first, None]
        flat, views = x.flatten(1), x[0].numel() // x.shape[-1]
        place = torch.empty(len(x), dtype=torch.int64, device=x.device)
        found, n_found, hidden = [], 0, None
        for step in range(0, int(lengths.max()), STRETCH):
            reading = int((lengths > step).sum())
            steps = torch.arange(step, min(step + STRETCH, int(lengths.max())), device=x.device)
            real = steps < lengths[:reading]
            index = first[:reading] + steps.minimum(lengths[:reading] - 1)  # who has ended reads its last item again
            items = F.embedding(index, flat).unflatten(-1, (views, -1)).transpose(1, 2).flatten(0, 1)
            before = None if hidden is None else hidden[:, : reading * views].contiguous()
            states, hidden = self.gru(items, before)  # (reading · views, steps, D)
            found.append(states.unflatten(0, (reading, views)).transpose(1, 2).reshape(real.numel(), -1))
            place[index[real]] = real.flatten().nonzero().squeeze(1) + n_found
            n_found += real.numel()
        wanted = place[sequences.last] if last_only else place
        return F.embedding(wanted, torch.cat(found)).view(-1, *x.shape[1:])
