"""Leave-one-out and global temporal split, and the fixed negatives."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from llmesr.errors import InputError

LEAVE_ONE_OUT_NEEDS = 3
"""Interactions of a user: one to test, one to validate, one to learn from."""


@dataclass(frozen=True)
class Split:
    """Interactions as (user, item), ordered by user and time.

    Attributes:
        train: what is learned.
        validation: what chooses, one a user at most.
        test: what judges, one a user at most.
        known: what is read to predict the test items.
    """

    train: pl.DataFrame
    validation: pl.DataFrame
    test: pl.DataFrame
    known: pl.DataFrame


def leave_one_out(interactions: pl.DataFrame, short_users: str) -> Split:
    """Give each user's last item to test, the second-last to validation, the rest to training.

    Args:
        interactions: columns `user`, `item` and `user_id`, ordered by user and time.
        short_users: what becomes of users with fewer than 3 interactions: `error`, or `train_only`;
            with `drop` there are none left.

    Raises:
        InputError: a user has fewer than 3 interactions and `short_users` is `error`.
    """
    left = interactions.with_columns(
        (pl.len().over("user") - pl.int_range(pl.len()).over("user")).alias("left"),
        pl.len().over("user").alias("length"),
    )
    short = left.filter(pl.col("length") < LEAVE_ONE_OUT_NEEDS)
    if short.height and short_users == "error":
        raise InputError(
            f"user '{short['user_id'][0]}' has {short['length'][0]} interactions and leave-one-out needs "
            f"{LEAVE_ONE_OUT_NEEDS} ({short['user'].n_unique()} users like it): set 'min_user: 3' with "
            "'filter: k_core', or 'short_users: train_only' or 'drop', in the recipe"
        )
    in_train = (pl.col("left") > 2) | (pl.col("length") < LEAVE_ONE_OUT_NEEDS)
    pair = ["user", "item"]
    return Split(
        left.filter(in_train).select(pair),
        left.filter(~in_train & (pl.col("left") == 2)).select(pair),
        left.filter(~in_train & (pl.col("left") == 1)).select(pair),
        left.filter(in_train | (pl.col("left") == 2)).select(pair),
    )


def cut(interactions: pl.DataFrame, shares: tuple[float, float]) -> tuple[Any, Any]:
    """Find the two points in time before which these shares of all interactions happened."""
    times = interactions["timestamp"].sort()
    return times[int(shares[0] * len(times))], times[int(shares[1] * len(times))]


def temporal(interactions: pl.DataFrame, cuts: tuple[Any, Any]) -> Split:
    """Split by two points in time that are the same for everybody: nothing is learned from anybody's future.

    A user's validation item is the first between the two points, the test item the first after the second. So neither
    is there for everybody. Whoever had nothing before the first point must have been left out.

    Args:
        interactions: columns `user`, `item` and `timestamp`, ordered by user and time.
        cuts: where validation and where test begins.
    """
    begins, ends = cuts
    time, pair = pl.col("timestamp"), ["user", "item"]
    first = {"subset": "user", "keep": "first", "maintain_order": True}
    return Split(
        interactions.filter(time < begins).select(pair),
        interactions.filter((time >= begins) & (time < ends)).unique(**first).select(pair),
        interactions.filter(time >= ends).unique(**first).select(pair),
        interactions.filter(time < ends).select(pair),
    )


def draw_negatives(
    users: np.ndarray, seen: list[np.ndarray], n_items: int, negatives: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw, for each user, distinct items that the user never touched.

    A user's unseen items are numbered 0, 1, …; distinct numbers are drawn and turned into items by skipping
    the seen ones, so nothing is drawn in vain.

    Args:
        users: (n,) row numbers into `seen`.
        seen: for each user the ascending distinct item ids (1..V) that must not be drawn.
        n_items: V.
        negatives: how many to draw.
        rng: the source of chance.

    Returns:
        (n, negatives) int32 item ids; 0 fills up the row of a user with too few unseen items.
    """
    drawn = np.zeros((len(users), negatives), dtype=np.int32)
    for row, user in enumerate(users):
        touched = seen[user]
        unseen = n_items - len(touched)
        number = rng.choice(unseen, size=min(negatives, unseen), replace=False)
        # the k-th seen item has (item - 1 - k) unseen items before it
        skip = np.searchsorted(touched - 1 - np.arange(len(touched)), number, side="right")
        drawn[row, : len(number)] = number + 1 + skip
    return drawn
