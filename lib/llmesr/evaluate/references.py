"""Rows that need no training, as sanity checks: popularity, and items that the same users have.

A method that cannot beat them has learned nothing about order.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from llmesr.models.scoring import Scores
from llmesr.sequences import Sequences
from llmesr.similarity import cooccurrence, incidence

UNTRAINED = "untrained"
"""Stands in the column `backbone` of a reference, which has none."""
NEIGHBOURS = 99
"""Most similar other items that are kept for each item."""


class Popularity(Scores):
    """Score every item by its training interactions, the same for all users."""

    def __init__(self, train: Sequences, n_items: int) -> None:
        self.counts = torch.bincount(train.items, minlength=n_items + 1).float()

    def __call__(self, histories: Sequences) -> Tensor:
        """Score all items for B histories: (B, V + 1)."""
        return self.counts.to(histories.items.device).repeat(len(histories), 1)


class ItemKNN(Scores):
    """Score an item by its cosine of co-occurrence to the history's items, summed."""

    def __init__(self, train: Sequences, n_items: int) -> None:
        self.n_items, self.similarity = n_items, cooccurrence(train, n_items, NEIGHBOURS)

    def __call__(self, histories: Sequences) -> Tensor:
        """Score all items for B histories: (B, V + 1)."""
        scores = incidence(histories, self.n_items) @ self.similarity
        return torch.from_numpy(scores.toarray()).to(histories.items.device)


REFERENCES: dict[str, Callable[[Sequences, int], Scores]] = {"popularity": Popularity, "item_knn": ItemKNN}
TITLES = {"popularity": "Popularity", "item_knn": "Item-kNN"}
