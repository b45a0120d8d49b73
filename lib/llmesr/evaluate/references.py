"""Rows that need no training loop, to be sane by: popularity, and items bought together.

A reference is fitted on training interactions and gives a score for every item; who cannot beat it has learned
nothing about order.
"""

import warnings
from collections.abc import Callable

import numpy as np
from implicit.nearest_neighbours import CosineRecommender

from llmesr.models.ragged import Ragged
from llmesr.prepare.dataset import Sequences, baskets

Scorer = Callable[[Ragged], np.ndarray]
"""B users' items → (B, V + 1) scores."""

NEIGHBOURS = 100
"""Most similar items that are kept for each item."""


def popularity(train: Sequences, n_items: int) -> Scorer:
    """Score every item by its training interactions, for everybody alike."""
    counts = np.bincount(train.items, minlength=n_items + 1).astype(np.float32)
    return lambda users: np.tile(counts, (len(users.lengths), 1))


def item_knn(train: Sequences, n_items: int) -> Scorer:
    """Score an item by its cosine to the user's items, summed: cosine of who has them, in training."""
    model = CosineRecommender(K=NEIGHBOURS, num_threads=1)
    with warnings.catch_warnings():  # about a conversion inside the library
        warnings.filterwarnings("ignore", message="Method expects CSR input")
        model.fit(baskets(train, n_items), show_progress=False)

    def score(users: Ragged) -> np.ndarray:
        asked = Sequences(users.items.cpu().numpy(), users.offsets.cpu().numpy())
        return (baskets(asked, n_items) @ model.similarity).toarray()

    return score


REFERENCES: dict[str, Callable[[Sequences, int], Scorer]] = {"popularity": popularity, "item_knn": item_knn}
