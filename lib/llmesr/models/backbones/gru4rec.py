"""GRU4Rec (Hidasi et al., ICLR 2016): a gated recurrent unit reads the sequence."""

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmesr.models.backbones.base import Backbone, ModelSettings
from llmesr.section import Positive, Section
from llmesr.sequences import Sequences

STEPS = 8
"""Steps that are read at once: more are fewer calls, and more padding where sequences end."""


class GRU4Rec(Backbone):
    """GRU layers over item vectors; no positions and no dropout, as in LLM-ESR's code."""

    name = "gru4rec"
    title = "GRU4Rec"

    class Settings(Section):
        """GRU4Rec's own settings."""

        layers: Positive = 1
        """GRU layers (paper: 1)."""
        objective: Literal["every_position", "last_item"] = "every_position"
        """What is predicted: the next item at every position (GRU4Rec's paper), or the last one (LLM-ESR's code)."""

    def __init__(
        self, settings: "GRU4Rec.Settings", model: ModelSettings, max_length: int, *, attend_padding: bool = False
    ) -> None:
        super().__init__(settings, model, max_length)
        self.objective = settings.objective
        self.gru = nn.GRU(model.hidden, model.hidden, settings.layers, bias=False, batch_first=True)

    def encode(self, x: Tensor, sequences: Sequences) -> Tensor:
        """Read x (N, D) from left to right: states (N, D).

        A few steps of all sequences at a time, without those that have ended. PyTorch's packed sequences do the same
        one step at a time, and on a CPU their gradient takes steps × N work.
        """
        rectangles, hidden = [], None
        place, n_cells = torch.empty_like(sequences.items), 0  # the cell of each of the N rows
        for rows, real in chunks(sequences):
            b = len(rows)
            before = None if hidden is None else hidden[:, :b].contiguous()  # of the sequences that go on
            states, hidden = self.gru(F.embedding(rows, x), before)  # (b, steps, D)
            rectangles.append(states.flatten(0, 1))  # (b · steps, D)
            place[rows[real]] = real.flatten().nonzero().squeeze(1) + n_cells
            n_cells += real.numel()
        return F.embedding(place, torch.cat(rectangles))


def chunks(sequences: Sequences) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut sequences into rectangles of `STEPS` steps, one after the other, each of those that go on so far.

    Yields:
        rows: (b, steps) which of the N, the longest sequence first; one that has ended repeats its last item.
        real: (b, steps) whether it has not ended.
    """
    longest_first = torch.argsort(sequences.lengths, descending=True, stable=True)
    first, lengths = sequences.offsets[longest_first, None], sequences.lengths[longest_first, None]
    longest = int(lengths.max())
    for start in range(0, longest, STEPS):
        b = int((lengths > start).sum())
        steps = torch.arange(start, min(start + STEPS, longest), device=lengths.device)
        yield first[:b] + steps.minimum(lengths[:b] - 1), steps < lengths[:b]
