"""Re-ranking: choose k of a user's best candidates so that the list is more than the sum of its items.

All take candidates in order of relevance and one number that trades relevance for what they add; with that number at
its neutral value they change nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from llmesr.extras.diversity.measures import Catalogue, divergence

EPSILON = 1e-10
MOST_VALUES = 2**25
"""Numbers that are held at once of the candidates' vectors and categories."""


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

    def take(self, columns: np.ndarray) -> np.ndarray:
        """Give the items (B, k) in columns (B, k)."""
        return np.take_along_axis(self.items, columns, 1)

    def of_users(self, rows: slice | np.ndarray) -> "Candidates":
        """Give the candidates of some users."""
        return Candidates(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def concatenate(cls, blocks: list["Candidates"]) -> "Candidates":
        """Put the candidates of several blocks of users together."""
        return cls(*(np.concatenate([getattr(block, field.name) for block in blocks]) for field in fields(cls)))


def candidates(scores: np.ndarray, n: int, histories: np.ndarray) -> Candidates:
    """Take the n best of scores (B, V + 1), equal ones by their number; what may not be shown is minus infinity."""
    items = np.argsort(-scores, axis=1, kind="stable")[:, :n]
    values = np.take_along_axis(scores, items, 1)
    last = np.where(np.isfinite(values), values, np.inf).min(1, keepdims=True)
    spread = np.maximum(values[:, :1] - last, EPSILON)
    return Candidates(items, np.where(np.isfinite(values), (values - last) / spread, -np.inf), histories)


def mmr(best: Candidates, k: int, trade: float, catalogue: Catalogue) -> np.ndarray:
    """Maximal marginal relevance (Carbonell and Goldstein, 1998): λ relevance − (1 − λ) cosine to the nearest chosen.

    Args:
        best: the candidates.
        k: items a list.
        trade: λ in [0, 1]; 1 leaves the order alone.
        catalogue: with unit vectors.

    Returns:
        (B, k) items.
    """
    vectors = catalogue.unit[best.items]  # (B, n, L)
    nearest = np.full(best.items.shape, -np.inf)

    def gain(step: int) -> np.ndarray:
        return trade * best.relevance - ((1 - trade) * nearest if step else 0)

    def choose(_: int, column: np.ndarray) -> None:
        np.maximum(nearest, np.einsum("bnl,bl->bn", vectors, _at(vectors, column)), out=nearest)

    return best.take(_greedily(gain, choose, best, k))


def dpp(best: Candidates, k: int, trade: float, catalogue: Catalogue) -> np.ndarray:
    """Greedy MAP of a determinantal point process (Chen et al., NeurIPS 2018): log det of the chosen kernel.

    The kernel is q_i q_j cos(i, j), with q = exp(θ / (2 (1 − θ)) · relevance): the more weight relevance has, the less
    it matters that items are alike. Each step adds a row to the Cholesky factor, n k in all for a user.

    Args:
        best: the candidates.
        k: items a list.
        trade: θ in [0, 1]; 1 leaves the order alone.
        catalogue: with unit vectors.

    Returns:
        (B, k) items.
    """
    if trade >= 1:
        return best.items[:, :k]
    vectors, (n_users, n) = catalogue.unit[best.items], best.items.shape
    quality = trade / (1 - trade) * best.relevance  # 2 log q
    left = np.ones((n_users, n)) + EPSILON  # d²/q², what of an item's vector the chosen ones do not span
    factor = np.zeros((n_users, k, n))

    def gain(_: int) -> np.ndarray:
        return quality + np.log(left.clip(min=EPSILON))

    def choose(step: int, column: np.ndarray) -> None:
        cosine = np.einsum("bnl,bl->bn", vectors, _at(vectors, column))
        own = np.take_along_axis(factor, column[:, None, None], 2)[:, :step, 0]  # (B, step)
        row = cosine - np.einsum("bs,bsn->bn", own, factor[:, :step])
        row /= np.sqrt(np.take_along_axis(left, column[:, None], 1).clip(min=EPSILON))
        factor[:, step] = row
        np.subtract(left, row**2, out=left)

    return best.take(_greedily(gain, choose, best, k))


def calibrated(best: Candidates, k: int, trade: float, catalogue: Catalogue) -> np.ndarray:
    """Calibrated recommendations (Steck, RecSys 2018): λ mean relevance − (1 − λ) KL(history ‖ list).

    Args:
        best: the candidates.
        k: items a list.
        trade: λ in [0, 1]; 1 leaves the order alone.
        catalogue: with categories.

    Returns:
        (B, k) items.
    """
    # categories that a history has not got add nothing to the divergence, and there may be thousands of them
    most = max(1, int((best.histories > 0).sum(1).max()))
    own = np.argsort(-best.histories, axis=1)[:, :most]  # (B, M)
    history = np.take_along_axis(best.histories, own, 1)
    shares = catalogue.categories[best.items[:, :, None], own[:, None]]  # (B, n, M)
    chosen = np.zeros((len(shares), 1, shares.shape[2]), shares.dtype)

    def gain(step: int) -> np.ndarray:
        if trade >= 1:
            return best.relevance
        away = divergence(history[:, None], (chosen + shares) / (step + 1))
        return trade * best.relevance / (step + 1) - (1 - trade) * away

    def choose(_: int, column: np.ndarray) -> None:
        np.add(chosen, _at(shares, column)[:, None], out=chosen)

    return best.take(_greedily(gain, choose, best, k))


def less_popular(best: Candidates, k: int, trade: float, catalogue: Catalogue) -> np.ndarray:
    """Take popularity off: λ relevance − (1 − λ) log(1 + count), each from 0 to 1 within a user's candidates.

    Args:
        best: the candidates.
        k: items a list.
        trade: λ in [0, 1]; 1 leaves the order alone.
        catalogue: with counts.

    Returns:
        (B, k) items.
    """
    popular = np.log1p(catalogue.counts)[best.items]
    low, high = popular.min(1, keepdims=True), popular.max(1, keepdims=True)
    value = trade * best.relevance - (1 - trade) * (popular - low) / np.maximum(high - low, EPSILON)
    return best.take(np.argsort(-value, axis=1, kind="stable")[:, :k])


Reranker = Callable[[Candidates, int, float, Catalogue], np.ndarray]
RERANKERS: dict[str, Reranker] = {"mmr": mmr, "dpp": dpp, "calibrated": calibrated, "less_popular": less_popular}


def reranked(name: str, best: Candidates, k: int, trade: float, catalogue: Catalogue) -> np.ndarray:
    """Make everybody's lists (B, k) with one of `RERANKERS`, a block of users at a time."""
    n_users, n = best.items.shape
    block = max(1, MOST_VALUES // (n * (catalogue.unit.shape[1] + catalogue.categories.shape[1])))
    lists = [
        RERANKERS[name](best.of_users(slice(start, start + block)), k, trade, catalogue)
        for start in range(0, n_users, block)
    ]
    return np.concatenate(lists)


def _greedily(
    gain: Callable[[int], np.ndarray], choose: Callable[[int, np.ndarray], None], best: Candidates, k: int
) -> np.ndarray:
    """Choose k times the column (B,) with the largest gain (B, n) that is not chosen yet: columns (B, k)."""
    rows = np.arange(len(best.items))
    chosen = np.zeros((len(rows), k), np.int64)
    free = np.isfinite(best.relevance)
    for step in range(k):
        column = np.where(free, gain(step), -np.inf).argmax(1)
        chosen[:, step] = column
        free[rows, column] = False
        choose(step, column)
    return chosen


def _at(table: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Take of (B, n, …) the one in each column (B,): (B, …)."""
    return table[np.arange(len(table)), column]
