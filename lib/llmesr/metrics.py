"""HR@k and NDCG@k of ranks, for one held-out item a user."""

import numpy as np


def hit_rate(ranks: np.ndarray, k: int) -> np.ndarray:
    """HR@k of each rank: 1 where the item is among the first k, else 0.

    Args:
        ranks: (n,) from 1 upward; halves come from ties.
        k: cut-off.
    """
    return (ranks <= k).astype(np.float64)


def ndcg(ranks: np.ndarray, k: int) -> np.ndarray:
    """NDCG@k of each rank: 1 / log2(rank + 1) where the item is among the first k, else 0.

    With one relevant item the ideal DCG is 1.

    Args:
        ranks: (n,) from 1 upward; halves come from ties.
        k: cut-off.
    """
    return np.where(ranks <= k, 1.0 / np.log2(ranks + 1.0), 0.0)


METRICS = {"HR": hit_rate, "NDCG": ndcg}
