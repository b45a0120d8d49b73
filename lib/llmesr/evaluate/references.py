"""Rows that need no training loop, to be sane by: popularity, and items bought together.

A reference is fitted on training interactions and gives a score for every item; who cannot beat it has learned
nothing about order.
"""

import warnings
from collections.abc import Callable

import numpy as np
from implicit.nearest_neighbours import CosineRecommender
from scipy.sparse import csr_matrix

from llmesr.models.ragged import Ragged
from llmesr.prepare.dataset import Sequences

Scorer = Callable[[Ragged], np.ndarray]
"""B users' items → (B, V + 1) scores."""

NEIGHBOURS = 100
"""Most similar items that are kept for each item."""


def _baskets(items: np.ndarray, lengths: np.ndarray, n_items: int) -> csr_matrix:
    """Who has which item, once: (B, V + 1)."""
    ends = np.concatenate([[0], np.cumsum(lengths)])
    shape = (len(lengths), n_items + 1)
    found = csr_matrix((np.ones(len(items), np.float32), items, ends), shape=shape, copy=True)
    found.sum_duplicates()
    found.data[:] = 1.0
    return found


def popularity(train: Sequences, n_items: int) -> Scorer:
    """Score every item by its training interactions, for everybody alike."""
    counts = np.bincount(train.items, minlength=n_items + 1).astype(np.float32)
    return lambda users: np.tile(counts, (len(users.lengths), 1))


def item_knn(train: Sequences, n_items: int) -> Scorer:
    """Score an item by its cosine to the user's items, summed: cosine of who has them, in training."""
    model = CosineRecommender(K=NEIGHBOURS, num_threads=1)
    with warnings.catch_warnings():  # about a conversion inside the library
        warnings.filterwarnings("ignore", message="Method expects CSR input")
        model.fit(_baskets(train.items, train.lengths, n_items), show_progress=False)

    def score(users: Ragged) -> np.ndarray:
        baskets = _baskets(users.items.cpu().numpy(), users.lengths.cpu().numpy(), n_items)
        return (baskets @ model.similarity).toarray()

    return score


REFERENCES: dict[str, Callable[[Sequences, int], Scorer]] = {"popularity": popularity, "item_knn": item_knn}
