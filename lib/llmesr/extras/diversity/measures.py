"""How lists differ: within a list, between lists, and from what their users had before."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from llmesr.prepare.card import gini

SMOOTHING = 0.01
"""α of calibration: the share of the history's own distribution that is mixed into the list's (Steck, 2018)."""


@dataclass(frozen=True)
class Catalogue:
    """What is known of items; row 0 is the padding's.

    Attributes:
        unit: (V + 1, L) LLM embeddings of length one.
        categories: (V + 1, C) an item's share of each category; rows sum to one.
        counts: (V + 1,) training interactions.
        tail: (V + 1,) whether it is a tail item.
        n_users: U, of whom the counts are.
    """

    unit: np.ndarray
    categories: np.ndarray
    counts: np.ndarray
    tail: np.ndarray
    n_users: int


def categories_of(values: pl.Series, separator: str | None) -> np.ndarray:
    """Turn a column of categories into shares: (V + 1, C), row 0 empty.

    Args:
        values: of items 1..V; a missing one is a category of its own.
        separator: between several categories of one item; None takes a value, or each part of a list, whole.
    """
    rows = pl.DataFrame({"item": np.arange(1, len(values) + 1), "category": values})
    if isinstance(values.dtype, pl.List):
        rows = rows.explode("category")
    rows = rows.with_columns(pl.col("category").cast(pl.String).fill_null("unknown"))
    if separator is not None:
        rows = rows.with_columns(pl.col("category").str.split(separator)).explode("category")
    rows = rows.with_columns(pl.col("category").str.strip_chars().replace("", "unknown")).unique(maintain_order=True)
    columns = {name: column for column, name in enumerate(rows["category"].unique().sort())}
    table = np.zeros((len(values) + 1, len(columns)), np.float32)
    table[rows["item"].to_numpy(), [columns[name] for name in rows["category"]]] = 1
    table[1:] /= table[1:].sum(1, keepdims=True)
    return table


def semantic_diversity(lists: np.ndarray, catalogue: Catalogue) -> np.ndarray:
    """Intra-list diversity: 1 − the mean cosine of two items of a list (B, k): (B,)."""
    return _between_pairs(catalogue.unit[lists])


def category_diversity(lists: np.ndarray, catalogue: Catalogue) -> np.ndarray:
    """1 − the mean share of categories that two items of a list (B, k) have in common: (B,).

    What two items have in common is Σ min of their shares: with one category each, whether it is the same.
    """
    shares = catalogue.categories[lists]  # (B, k, C)
    k = lists.shape[1]
    common = np.zeros(len(lists))
    for step in range(1, k):
        common += np.minimum(shares[:, step:], shares[:, :-step]).sum((1, 2))
    return 1 - common / max(1, k * (k - 1) / 2)


def _between_pairs(vectors: np.ndarray) -> np.ndarray:
    """1 − the mean inner product of two of k unit vectors (B, k, L): (B,)."""
    k = vectors.shape[1]
    total = (vectors.sum(1) ** 2).sum(-1) - (vectors**2).sum((1, 2))
    return 1 - total / max(1, k * (k - 1))


def novelty(lists: np.ndarray, catalogue: Catalogue) -> np.ndarray:
    """Mean self-information −log₂(count / U) of the items of a list, in bits: (B,); no count is taken for one."""
    return -np.log2(catalogue.counts.clip(min=1) / catalogue.n_users)[lists].mean(1)


def miscalibration(lists: np.ndarray, histories: np.ndarray, catalogue: Catalogue) -> np.ndarray:
    """KL(p ‖ q̃) of the categories of a history and of a list (Steck, 2018), in nats: (B,).

    Args:
        lists: (B, k).
        histories: (B, C) the mean shares of each user's history.
        catalogue: with categories.
    """
    return divergence(histories, catalogue.categories[lists].mean(1))


def divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """KL(p ‖ (1 − α) q + α p) over the last axis, with α = `SMOOTHING`."""
    mixed = (1 - SMOOTHING) * q + SMOOTHING * p
    ratio = np.divide(p, mixed, out=np.ones_like(mixed), where=p > 0)
    return (p * np.log(ratio)).sum(-1)


def coverage(lists: np.ndarray, n_items: int) -> float:
    """Share of the catalogue that is in somebody's list."""
    return len(np.unique(lists)) / n_items


def concentration(lists: np.ndarray, n_items: int) -> float:
    """Gini coefficient of how often items are listed: 0 when all equally, near 1 when few have all places."""
    return gini(np.bincount(lists.ravel(), minlength=n_items + 1)[1:])


def popularity_lift(lists: np.ndarray, popularity: np.ndarray, catalogue: Catalogue) -> float:
    """How much more popular listed items are than those that the users had: 0.5 is half as much again.

    Args:
        lists: (B, k).
        popularity: (B,) the mean count of each user's history.
        catalogue: with counts.
    """
    return float(catalogue.counts[lists].mean() / popularity.mean() - 1)


def serendipity(hits: np.ndarray, targets: np.ndarray, best_sellers: np.ndarray) -> np.ndarray:
    """Whether a list holds the target where the best-sellers (B, k) do not: (B,), relevant and unexpected."""
    return hits * ~(best_sellers == targets[:, None]).any(1)


def ranks(lists: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Rank of the targets (B,) in lists (B, k), from 1; infinite where it is not listed."""
    hits = lists == targets[:, None]
    return np.where(hits.any(1), hits.argmax(1) + 1.0, np.inf)
