"""Looks at similar users, for the lessons."""

import numpy as np
from scipy.sparse import csr_array

from llmesr.prepare.dataset import Sequences


def jaccard(train: Sequences, users: np.ndarray, others: np.ndarray, n_items: int) -> np.ndarray:
    """Compute |A ∩ B| / |A ∪ B| of the training items of user pairs.

    Args:
        train: training items.
        users: (n,) one side.
        others: (n,) the other side.
        n_items: V.

    Returns:
        (n,) from 0 to 1.
    """
    ones = np.ones(len(train.items), dtype=np.float32)
    has = csr_array((ones, train.items, train.offsets), shape=(len(train), n_items + 1))
    has.sum_duplicates()
    has.data[:] = 1.0  # a repeated purchase is one item
    shared = has[users].multiply(has[others]).sum(1)
    sizes = np.asarray(has.sum(1)).ravel()
    return np.asarray(shared).ravel() / np.maximum(sizes[users] + sizes[others] - np.asarray(shared).ravel(), 1)
