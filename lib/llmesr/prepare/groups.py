"""Long-tail groups: head and tail (Pareto 80/20), and the five groups by length and by popularity."""

import math

import numpy as np
import polars as pl


def tail_threshold(counts: np.ndarray, quantile: float, below: int | None) -> int:
    """Return t such that whoever has fewer than t is in the tail.

    Args:
        counts: interactions of each user or item.
        quantile: the tail ends at this quantile of the counts, so that this share is tail, and all that equal its last.
        below: t itself, when it is given explicitly as the paper does; the quantile is then not used.
    """
    return below if below is not None else math.floor(np.quantile(counts, quantile)) + 1


def tail_label(count: pl.Expr, threshold: int, what: str) -> pl.Expr:
    """Label counts as `tail_<what>` or `head_<what>`."""
    return pl.when(count < threshold).then(pl.lit(f"tail_{what}")).otherwise(pl.lit(f"head_{what}"))


def edge_label(count: pl.Expr, edges: tuple[int, ...], what: str) -> pl.Expr:
    """Label counts by the interval they lie in, e.g. `length_5-9` for edges (5, 10, …)."""
    names = edge_names(edges, what)
    label = pl.lit(names[0])
    for edge, name in zip(edges, names[1:], strict=True):
        label = pl.when(count >= edge).then(pl.lit(name)).otherwise(label)
    return label


def edge_names(edges: tuple[int, ...], what: str) -> list[str]:
    """Name the intervals between edges, in ascending order."""
    starts = (0, *edges)
    closed = [f"{what}_{low}-{high - 1}" for low, high in zip(starts, edges, strict=False)]
    return [*closed, f"{what}_{edges[-1]}+"]
