"""A synthetic shop of any size: power laws for items, topics for users."""

import numpy as np
import polars as pl

TOPICS = 64
"""Kinds of items; a user buys mostly from one."""
LOYALTY = 0.7
"""Share of a user's interactions that lie in the user's topic."""


def interactions(users: int, items: int, length: int, rng: np.random.Generator) -> pl.DataFrame:
    """Draw purchases: popularity falls with an item's rank r as 1/r within its topic (item id modulo `TOPICS`).

    Args:
        users: U; each has 5 interactions and, exponentially distributed, more, `length` on average.
        items: V; ids 0..V-1, the popular ones first.
        length: 5 or more.
        rng: the random numbers.

    Returns:
        about U · length rows `user_id`, `item_id`, `timestamp`.
    """
    lengths = 5 + np.floor(rng.exponential(max(length - 5 + 0.5, 1e-9), users)).astype(np.int64)
    who = np.repeat(np.arange(users), lengths)
    own = rng.integers(TOPICS, size=users)[who]
    topic = np.where(rng.random(len(who)) < LOYALTY, own, rng.integers(TOPICS, size=len(who)))
    ranks = max(1, items // TOPICS)
    rank = np.floor((ranks + 1.0) ** rng.random(len(who))) - 1  # log-uniform: density 1/r
    item = np.minimum(rank.astype(np.int64), ranks - 1) * TOPICS + topic
    return pl.DataFrame({"user_id": who, "item_id": item % items, "timestamp": np.arange(len(who))})


def vectors(ids: np.ndarray, width: int, rng: np.random.Generator) -> np.ndarray:
    """Stand in for a language model: items of a topic lie around one point; (n, L) float32 of length one."""
    points = rng.normal(size=(TOPICS, width)).astype(np.float32)
    rows = rng.standard_normal((len(ids), width), dtype=np.float32)
    rows += points[ids % TOPICS]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
