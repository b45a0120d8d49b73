"""Sequences without padding: B sequences of different lengths as one long array of N items.

Everything that looks at one position at a time (tables, linear layers, norms, losses) works on the N rows alone. Only
attention and recurrence need rectangles: `groups` puts sequences of similar length together, `Group.pad` makes a
rectangle (b, T, D) of rows (N, D), and `Sequences.unpad` comes back to rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SHORT = 4
"""Sequences up to this length share one group; beyond it lengths within a factor of 2 do."""


@dataclass(frozen=True)
class Group:
    """Sequences of similar length, as a rectangle with padding on the right.

    Attributes:
        rows: (b,) which of the B sequences they are.
        index: (b, T) which of the N rows stands in each cell; padding repeats the sequence's first row.
        real: (b, T) true where a cell is no padding.
    """

    rows: Tensor
    index: Tensor
    real: Tensor

    def pad(self, x: Tensor) -> Tensor:
        """Make a rectangle (b, T, D) of rows (N, D)."""
        return F.embedding(self.index, x)  # x[index]; its gradient is added up faster

    @cached_property
    def mask(self) -> Tensor:
        """(b, 1, 1, T) what attention adds to its logits: 0 where a position is seen, -∞ where it is padding."""
        return torch.zeros(self.real.shape, device=self.real.device).masked_fill(~self.real, -torch.inf)[:, None, None]

    @cached_property
    def causal_mask(self) -> Tensor:
        """(b, 1, T, T) the same, but later positions are not seen either."""
        T = self.real.shape[1]
        return self.mask + torch.full((T, T), -torch.inf, device=self.real.device).triu(1)


@dataclass(frozen=True)
class Sequences:
    """B sequences, one after the other.

    Attributes:
        items: (N,) item ids.
        lengths: (B,) how many of them belong to each sequence.
    """

    items: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, items: np.ndarray | Sequence[int], lengths: np.ndarray | Sequence[int]) -> "Sequences":
        """Make sequences of arrays or lists."""
        return cls(*(torch.tensor(np.asarray(part), dtype=torch.int64) for part in (items, lengths)))

    @classmethod
    def of_lists(cls, rows: Sequence[Sequence[int]]) -> "Sequences":
        """Make sequences of lists of items."""
        return cls.of(np.concatenate([np.zeros(0), *rows]), [len(row) for row in rows])

    def to(self, device: torch.device | str) -> "Sequences":
        """Bring them to a device."""
        return Sequences(self.items.to(device), self.lengths.to(device))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> Tensor:
        """Give the items of one sequence, (length,)."""
        return self.items[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.items.split(self.lengths.tolist()))

    # --- where each row lies ---

    @cached_property
    def offsets(self) -> Tensor:
        """(B + 1,) where each sequence starts and ends."""
        return F.pad(self.lengths.cumsum(0), (1, 0))

    @cached_property
    def row(self) -> Tensor:
        """(N,) the sequence that each position belongs to."""
        rows = torch.arange(len(self), device=self.items.device)
        return torch.repeat_interleave(rows, self.lengths, output_size=len(self.items))

    @cached_property
    def column(self) -> Tensor:
        """(N,) each position's place in its sequence, from 0."""
        return torch.arange(len(self.items), device=self.items.device) - self.offsets[self.row]

    @cached_property
    def from_end(self) -> Tensor:
        """(N,) each position's distance from the end of its sequence; the last one has 0."""
        return self.lengths[self.row] - 1 - self.column

    @property
    def last(self) -> Tensor:
        """(B,) the position at which each sequence ends."""
        return self.offsets[1:] - 1

    # --- new sequences from these ---

    def take(self, rows: Tensor, latest: int | Tensor | None = None) -> "Sequences":
        """Cut out sequences (b,), whole or of each its `latest` items (one number, or a number each)."""
        lengths = self.lengths[rows] if latest is None else self.lengths[rows].clamp(max=latest)
        return self.cut(self.offsets[rows + 1] - lengths, lengths)

    def cut(self, first: Tensor, lengths: Tensor) -> "Sequences":
        """Cut out stretches: n sequences that start at positions `first` (n,) and have `lengths` (n,)."""
        cut = Sequences(torch.empty(int(lengths.sum()), dtype=torch.int64, device=lengths.device), lengths)
        return Sequences(self.items[first[cut.row] + cut.column], lengths)

    def drop_last(self, least: int) -> "Sequences":
        """Remove each sequence's last item, but keep at least `least` of what there is."""
        lengths = torch.maximum(self.lengths - 1, self.lengths.clamp(max=least))
        return Sequences(self.items[self.column < lengths[self.row]], lengths)

    def append(self, item: int) -> "Sequences":
        """Append one item to every sequence."""
        items = self.items.new_full((len(self.items) + len(self),), item)
        items[torch.arange(len(self.items), device=items.device) + self.row] = self.items
        return Sequences(items, self.lengths + 1)

    def join(self, other: "Sequences") -> "Sequences":
        """Put the sequences of another one behind these."""
        return Sequences(torch.cat([self.items, other.items]), torch.cat([self.lengths, other.lengths]))

    def backwards(self) -> "Sequences":
        """Turn every sequence round: its last item first."""
        return Sequences(self.items[self.offsets[self.row] + self.from_end], self.lengths)

    def mean(self, x: Tensor) -> Tensor:
        """Average rows (N, D) within each sequence: (B, D), zeros for an empty one."""
        sums = x.new_zeros(len(self), x.shape[1]).index_add(0, self.row, x)
        return sums / self.lengths.clamp(min=1)[:, None]

    # --- rectangles and back ---

    @cached_property
    def groups(self) -> list[Group]:
        """The rectangles that attention and recurrence work on; empty sequences are in none."""
        level = (self.lengths - 1).clamp(min=SHORT - 1).double().log2().floor()  # 1 … 4, 5 … 8, 9 … 16, 17 … 32, …
        groups = []
        for value in level.unique():
            rows = ((level == value) & (self.lengths > 0)).nonzero().squeeze(1)  # (b,)
            if len(rows):
                column = torch.arange(int(self.lengths[rows].max()), device=rows.device)  # (T,)
                real = column < self.lengths[rows, None]  # (b, T)
                groups.append(Group(rows, self.offsets[rows, None] + torch.where(real, column, 0), real))
        return groups

    @cached_property
    def _cells(self) -> Tensor:
        """(N,) the cell of each row when the rectangles are laid flat, one after the other."""
        cells, start = torch.empty_like(self.items), 0
        for group in self.groups:
            flat = group.real.flatten()
            cells[group.index.flatten()[flat]] = start + flat.nonzero().squeeze(1)
            start += len(flat)
        return cells

    def unpad(self, rectangles: list[Tensor]) -> Tensor:
        """Turn one rectangle (b, T, D) a group back into rows (N, D)."""
        flat = torch.cat([rectangle.flatten(0, 1) for rectangle in rectangles])
        return F.embedding(self._cells, flat)
