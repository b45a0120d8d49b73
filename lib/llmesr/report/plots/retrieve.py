"""Looks at similar users, for the lessons."""

import numpy as np

from llmesr.sequences import Sequences
from llmesr.similarity import incidence


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
    has = incidence(train, n_items)
    shared = has[users].multiply(has[others]).sum(1)
    sizes = np.asarray(has.sum(1)).ravel()
    return np.asarray(shared).ravel() / np.maximum(sizes[users] + sizes[others] - np.asarray(shared).ravel(), 1)
