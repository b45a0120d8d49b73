"""Sequences without padding: B sequences of different lengths as one long array of N items.

Everything that looks at one position at a time (tables, linear layers, norms, losses) works on the N rows alone. Only
attention needs rectangles; it pads sequences of similar length together (`groups`) and comes back to N rows.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SHORT = 4
"""Sequences up to this length share one rectangle; beyond it lengths within a factor of 2 do."""


@dataclass(frozen=True)
class Group:
    """Sequences of similar length, as a rectangle.

    Attributes:
        rows: (b,) which of the sequences they are.
        index: (b, T) row of each position among the N; padding repeats the sequence's first row.
        real: (b, T) true where it is no padding.
    """

    rows: Tensor
    index: Tensor
    real: Tensor


@dataclass(frozen=True)
class Ragged:
    """B sequences, one after the other.

    Attributes:
        items: (N,) item ids.
        lengths: (B,) how many belong to each sequence.
        layouts: what `layout.layout_of` has made of them.
    """

    items: Tensor
    lengths: Tensor
    layouts: dict[tuple, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, items: np.ndarray, lengths: np.ndarray, device: torch.device | str = "cpu") -> "Ragged":
        """Bring arrays to the device, once."""
        return cls(*(torch.tensor(part, dtype=torch.int64, device=device) for part in (items, lengths)))

    @cached_property
    def offsets(self) -> Tensor:
        """(B + 1,) where each sequence starts and ends."""
        return F.pad(self.lengths.cumsum(0), (1, 0))

    @cached_property
    def row(self) -> Tensor:
        """(N,) the sequence each position belongs to."""
        rows = torch.arange(len(self.lengths), device=self.items.device)
        return torch.repeat_interleave(rows, self.lengths, output_size=len(self.items))

    @cached_property
    def column(self) -> Tensor:
        """(N,) each position's place in its sequence, from 0."""
        return torch.arange(len(self.items), device=self.items.device) - self.offsets[self.row]

    @cached_property
    def from_end(self) -> Tensor:
        """(N,) each position's distance from the end of its sequence; the last has 0."""
        return self.lengths[self.row] - 1 - self.column

    @property
    def last(self) -> Tensor:
        """(B,) the position at which each sequence ends."""
        return self.offsets[1:] - 1

    def take(self, rows: Tensor, latest: int | Tensor | None = None) -> "Ragged":
        """Cut out sequences (b,), whole or of each its `latest` items (one number, or a number each)."""
        lengths = self.lengths[rows] if latest is None else self.lengths[rows].clamp(max=latest)
        return self._cut(self.offsets[rows + 1] - lengths, lengths)

    def prefixes(self, ends: Tensor, latest: int) -> "Ragged":
        """Cut out what leads up to positions (n,), these included: n sequences, of each its `latest` items."""
        lengths = (self.column[ends] + 1).clamp(max=latest)
        return self._cut(ends - lengths + 1, lengths)

    def _cut(self, first: Tensor, lengths: Tensor) -> "Ragged":
        cut = Ragged(torch.empty(int(lengths.sum()), dtype=torch.int64, device=lengths.device), lengths)
        return Ragged(self.items[first[cut.row] + cut.column], lengths)

    def sample(self, most: Tensor) -> "Ragged":
        """Draw from each sequence at random, without replacement, up to `most` (B,) of its items."""
        lottery = torch.rand(len(self.items), dtype=torch.float64, device=self.items.device)
        shuffled = torch.argsort(self.row + lottery)  # sequences stay together
        kept = self.column < most[self.row]
        return Ragged(self.items[shuffled[kept]], torch.minimum(self.lengths, most))

    def occurrences(self, n_items: int) -> "Ragged":
        """List where each item occurs: sequence v of the answer holds the positions of item v = 0 … n_items."""
        return Ragged(torch.argsort(self.items, stable=True), torch.bincount(self.items, minlength=n_items + 1))

    def drop_last(self, least: int) -> "Ragged":
        """Remove each sequence's last item, but keep at least `least` of what there is."""
        lengths = torch.maximum(self.lengths - 1, self.lengths.clamp(max=least))
        return Ragged(self.items[self.column < lengths[self.row]], lengths)

    def append(self, item: int) -> "Ragged":
        """Append one item to every sequence."""
        items = self.items.new_full((len(self.items) + len(self.lengths),), item)
        items[torch.arange(len(self.items), device=items.device) + self.row] = self.items
        return Ragged(items, self.lengths + 1)

    def join(self, other: "Ragged") -> "Ragged":
        """Put the sequences of another one behind these."""
        return Ragged(torch.cat([self.items, other.items]), torch.cat([self.lengths, other.lengths]))

    def mean(self, x: Tensor) -> Tensor:
        """Average rows (N, D) within each sequence: (B, D), zeros for an empty one."""
        sums = x.new_zeros(len(self.lengths), x.shape[1]).index_add(0, self.row, x)
        return sums / self.lengths.clamp(min=1)[:, None]

    @cached_property
    def groups(self) -> list[Group]:
        """The rectangles that attention works on."""
        level = (self.lengths - 1).clamp(min=SHORT - 1).double().log2().floor()  # 5 … 8, 9 … 16, 17 … 32, …
        groups = []
        for value in level.unique():
            rows = (level == value).nonzero().squeeze(1)
            column = torch.arange(int(self.lengths[rows].max()), device=rows.device)
            real = column < self.lengths[rows, None]
            groups.append(Group(rows, self.offsets[rows, None] + torch.where(real, column, 0), real))
        return groups
