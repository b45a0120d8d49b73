"""Re-ranking: choose k of a user's best candidates so that the list is more than the sum of its items.

All take candidates in order of relevance and one number that trades relevance for what they add; with that number at
its neutral value they change nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from llmesr.diversity.measures import Catalogue, divergence

EPSILON = 1e-10


@dataclass(frozen=True)
class Candidates:
    """The items that lists are made of.

    Attributes:
        items: (B, n) item ids, best first.
        relevance: (B, n) scores of a user from 0 (the last) to 1 (the first).
        histories: (B, C) mean category shares of each user's history.
    """

    items: np.ndarray
    relevance: np.ndarray
    histories: np.ndarray

    def take(self, chosen: np.ndarray) -> np.ndarray:
        """Give the items (B, k) at places (B, k)."""
        return np.take_along_axis(self.items, chosen, 1)


def candidates(scores: np.ndarray, n: int, histories: np.ndarray) -> Candidates:
    """Take the n best of scores (B, V + 1); what a user may not be shown is minus infinity."""
    items = np.argsort(-scores, axis=1, kind="stable")[:, :n]
    values = np.take_along_axis(scores, items, 1)
    last = np.where(np.isfinite(values), values, np.inf).min(1, keepdims=True)
    spread = np.maximum(values[:, :1] - last, EPSILON)
    return Candidates(items, np.where(np.isfinite(values), (values - last) / spread, -np.inf), histories)


def mmr(found: Candidates, k: int, trade: float, catalogue: Catalogue) -> np.ndarray:
    """Maximal marginal relevance (Carbonell and Goldstein, 1998): λ relevance − (1 − λ) cosine to the nearest chosen.

    Args:
        found: the candidates.
        k: items a list.
        trade: λ in [0, 1]; 1 leaves the order alone.
        catalogue: with unit vectors.

    Returns:
        (B, k) items.
    """
    vectors = catalogue.unit[found.items]  # (B, n, L)
    nearest = np.full(found.items.shape, -np.inf)

    def gain(step: int) -> np.ndarray:
        return trade * found.relevance - ((1 - trade) * nearest if step else 0)

    def choose(_: int, place: np.ndarray) -> None:
        np.maximum(nearest, np.einsum("bnl,bl->bn", vectors, _at(vectors, place)), out=nearest)

    return found.take(_greedily(gain, choose, found, k))


def dpp(found: Candidates, k: int, trade: float, catalogue: Catalogue) -> np.ndarray:
    """Greedy MAP of a determinantal point process (Chen et al., NeurIPS 2018): log det of the chosen kernel.

    The kernel is q_i q_j cos(i, j), with q = exp(θ / (2 (1 − θ)) · relevance): the more weight relevance has, the less
    it matters that items are alike. Each step adds a row to the Cholesky factor, n k in all for a user.

    Args:
        found: the candidates.
        k: items a list.
        trade: θ in [0, 1]; 1 leaves the order alone.
        catalogue: with unit vectors.

    Returns:
        (B, k) items.
    """
    if trade >= 1:
        return found.items[:, :k]
    vectors, (n_users, n) = catalogue.unit[found.items], found.items.shape
    quality = trade / (1 - trade) * found.relevance  # 2 log q
    left = np.ones((n_users, n)) + EPSILON  # d²/q², what of an item's vector the chosen ones do not span
    factor = np.zeros((n_users, k, n))

    def gain(_: int) -> np.ndarray:
        return quality + np.log(left.clip(min=EPSILON))

    def choose(step: int, place: np.ndarray) -> None:
        cosine = np.einsum("bnl,bl->bn", vectors, _at(vectors, place))
        own = np.take_along_axis(factor, place[:, None, None], 2)[:, :step, 0]  # (B, step)
        row = cosine - np.einsum("bs,bsn->bn", own, factor[:, :step])
        row /= np.sqrt(np.take_along_axis(left, place[:, None], 1).clip(min=EPSILON))
        factor[:, step] = row
        np.subtract(left, row**2, out=left)

    return found.take(_greedily(gain, choose, found, k))


def calibrated(found: Candidates, k: int, trade: float, catalogue: Catalogue) -> np.ndarray:
    """Calibrated recommendations (Steck, RecSys 2018): λ mean relevance − (1 − λ) KL(history ‖ list).

    Args:
        found: the candidates.
        k: items a list.
        trade: λ in [0, 1]; 1 leaves the order alone.
        catalogue: with categories.

    Returns:
        (B, k) items.
    """
    shares = catalogue.categories[found.items]  # (B, n, C)
    chosen = np.zeros((len(shares), 1, shares.shape[2]), shares.dtype)

    def gain(step: int) -> np.ndarray:
        if trade >= 1:
            return found.relevance
        away = divergence(found.histories[:, None], (chosen + shares) / (step + 1))
        return trade * found.relevance / (step + 1) - (1 - trade) * away

    def choose(_: int, place: np.ndarray) -> None:
        np.add(chosen, _at(shares, place)[:, None], out=chosen)

    return found.take(_greedily(gain, choose, found, k))


def less_popular(found: Candidates, k: int, trade: float, catalogue: Catalogue) -> np.ndarray:
    """Take popularity off: λ relevance − (1 − λ) log(1 + count), each from 0 to 1 within a user's candidates.

    Args:
        found: the candidates.
        k: items a list.
        trade: λ in [0, 1]; 1 leaves the order alone.
        catalogue: with counts.

    Returns:
        (B, k) items.
    """
    popular = np.log1p(catalogue.counts)[found.items]
    low, high = popular.min(1, keepdims=True), popular.max(1, keepdims=True)
    value = trade * found.relevance - (1 - trade) * (popular - low) / np.maximum(high - low, EPSILON)
    return found.take(np.argsort(-value, axis=1, kind="stable")[:, :k])


Reranker = Callable[[Candidates, int, float, Catalogue], np.ndarray]
RERANKERS: dict[str, Reranker] = {"mmr": mmr, "dpp": dpp, "calibrated": calibrated, "less_popular": less_popular}


def _greedily(
    gain: Callable[[int], np.ndarray], choose: Callable[[int, np.ndarray], None], found: Candidates, k: int
) -> np.ndarray:
    """Choose k times the place (B,) with the largest gain (B, n) that is not chosen yet: places (B, k)."""
    rows = np.arange(len(found.items))
    chosen = np.zeros((len(rows), k), np.int64)
    free = np.isfinite(found.relevance)
    for step in range(k):
        place = np.where(free, gain(step), -np.inf).argmax(1)
        chosen[:, step] = place
        free[rows, place] = False
        choose(step, place)
    return chosen


def _at(rows: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Take of (B, n, …) the one at each place (B,): (B, …)."""
    return rows[np.arange(len(rows)), place]
