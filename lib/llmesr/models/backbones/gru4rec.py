"""GRU4Rec (Hidasi et al., ICLR 2016): a gated recurrent unit reads the sequence."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmesr.models.ragged import Ragged
from llmesr.settings import Gru4Rec as Gru4RecSettings
from llmesr.settings import Model

STRETCH = 8
"""Steps that are read at once: more are fewer calls, and more padding where sequences end."""


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

        PyTorch's packed sequences would need no padding, but on a CPU their gradient takes steps × N work.
        """
        flat, views = x.flatten(1), x[0].numel() // x.shape[-1]
        place = torch.empty(len(x), dtype=torch.int64, device=x.device)
        found, n_found, hidden = [], 0, None
        for rows, real in stretches(sequences):
            items = F.embedding(rows, flat).unflatten(-1, (views, -1)).transpose(1, 2).flatten(0, 1)
            before = None if hidden is None else hidden[:, : len(items)].contiguous()  # of those that go on
            states, hidden = self.gru(items, before)  # (b · views, steps, D)
            found.append(states.unflatten(0, (-1, views)).transpose(1, 2).reshape(real.numel(), -1))
            place[rows[real]] = real.flatten().nonzero().squeeze(1) + n_found
            n_found += real.numel()
        wanted = place[sequences.last] if last_only else place
        return F.embedding(wanted, torch.cat(found)).view(-1, *x.shape[1:])


def stretches(sequences: Ragged) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut sequences into rectangles of `STRETCH` steps, one after the other, each of those that go on so far.

    Yields:
        rows: (b, steps) which of the N, the longest sequence first; one that has ended repeats its last item.
        real: (b, steps) whether it has not ended.
    """
    longest_first = torch.argsort(sequences.lengths, descending=True, stable=True)
    first, lengths = sequences.offsets[longest_first, None], sequences.lengths[longest_first, None]
    longest = int(lengths.max())
    for start in range(0, longest, STRETCH):
        b = int((lengths > start).sum())
        steps = torch.arange(start, min(start + STRETCH, longest), device=lengths.device)
        yield first[:b] + steps.minimum(lengths[:b] - 1), steps < lengths[:b]
