"""Where items occur, and what leads up to it: MELT and CITIES learn from these contexts."""

import torch
from torch import Tensor

from llmesr.sequences import Sequences


def occurrences(sequences: Sequences, n_items: int) -> Sequences:
    """List where each item occurs: sequence v of the answer holds the positions (N,) of item v = 0 … n_items."""
    counts = torch.bincount(sequences.items, minlength=n_items + 1)
    return Sequences(torch.argsort(sequences.items, stable=True), counts)


def prefixes(sequences: Sequences, ends: Tensor, latest: int) -> Sequences:
    """Cut out what leads up to positions (n,), these included: n sequences, of each its `latest` items."""
    lengths = (sequences.column[ends] + 1).clamp(max=latest)
    return sequences.cut(ends - lengths + 1, lengths)


def sample(sequences: Sequences, most: Tensor) -> Sequences:
    """Draw from each sequence at random, without replacement, up to `most` (B,) of its items."""
    lottery = torch.rand(len(sequences.items), dtype=torch.float64, device=sequences.items.device)
    shuffled = torch.argsort(sequences.row + lottery)  # sequences stay together
    kept = sequences.column < most[sequences.row]
    return Sequences(sequences.items[shuffled[kept]], torch.minimum(sequences.lengths, most))
