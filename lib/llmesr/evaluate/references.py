"""Rows that need no training loop, to be sane by: popularity, and items bought together.

A reference is fitted on training interactions and gives a score for every item; who cannot beat it has learned
nothing about order.
"""

from collections.abc import Callable

import numpy as np

from llmesr.models.ragged import Ragged
from llmesr.prepare.dataset import Sequences, baskets
from llmesr.retrieve.items import bought_together

Scorer = Callable[[Ragged], np.ndarray]
"""B users' items → (B, V + 1) scores."""

NEIGHBOURS = 99
"""Most similar other items that are kept for each item."""


def popularity(train: Sequences, n_items: int) -> Scorer:
    """Score every item by its training interactions, for everybody alike."""
    counts = np.bincount(train.items, minlength=n_items + 1).astype(np.float32)
    return lambda users: np.tile(counts, (len(users.lengths), 1))


def item_knn(train: Sequences, n_items: int) -> Scorer:
    """Score an item by its cosine to the user's items, summed: cosine of who has them, in training."""
    similarity = bought_together(train, n_items, NEIGHBOURS)

    def score(users: Ragged) -> np.ndarray:
        asked = Sequences(users.items.cpu().numpy(), users.offsets.cpu().numpy())
        return (baskets(asked, n_items) @ similarity).toarray()

    return score


REFERENCES: dict[str, Callable[[Sequences, int], Scorer]] = {"popularity": popularity, "item_knn": item_knn}
