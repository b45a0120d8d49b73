"""The dataset card: the statistics that a reader compares, and the thresholds of the tail."""

import numpy as np
import polars as pl


def describe(users: pl.DataFrame, items: pl.DataFrame, totals: np.ndarray, thresholds: dict[str, int]) -> dict:
    """Compute the statistics of a prepared dataset.

    Args:
        users: with `tail`.
        items: with `count` (training interactions) and `tail`.
        totals: each user's interactions in all splits together.
        thresholds: the tail's, by `user` and `item`.

    Returns:
        A plain dict that is saved as `card.json`.
    """
    interactions = int(totals.sum())
    counts = items["count"].to_numpy()
    return {
        "users": users.height,
        "items": items.height,
        "interactions": interactions,
        "average_length": round(interactions / users.height, 2),
        "density_percent": round(100 * interactions / users.height / items.height, 3),
        "longest_user": int(totals.max()),
        "users_under_10": _share(totals < 10),
        "users_under_30": _share(totals < 30),
        "items_under_10": _share(counts < 10),
        "items_under_30": _share(counts < 30),
        "items_never_in_training": int((counts == 0).sum()),
        "distinct_titles": items["title"].n_unique(),
        "tail_user_below": thresholds["user"],
        "tail_item_below": thresholds["item"],
        "tail_users": _share((users["tail"] == "tail_user").to_numpy()),
        "tail_items": _share((items["tail"] == "tail_item").to_numpy()),
        "gini_of_item_counts": round(gini(counts), 3),
    }


def gini(counts: np.ndarray) -> float:
    """Gini coefficient of non-negative counts: 0 when all are equal, near 1 when one has everything."""
    ordered = np.sort(counts).astype(float)
    n = len(ordered)
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * ordered.sum())) if ordered.sum() else 0.0


def _share(mask: np.ndarray) -> float:
    return round(float(mask.mean()), 4)
