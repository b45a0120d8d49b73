"""Looks at a prepared dataset, for the lessons."""

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.figure import Figure

from llmesr.report import dataset_name
from llmesr.report.plotting import ACCENT, MARK, alone


def lorenz(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute which share of all interactions the rarest items have.

    Args:
        counts: (n,) interactions of each item.

    Returns:
        shares of items, rarest first, and their shares of the interactions: (n + 1,) each, from 0 to 1.
    """
    ascending = np.sort(counts)
    share = np.concatenate([[0], ascending.cumsum()]) / max(1, ascending.sum())
    return np.linspace(0, 1, len(counts) + 1), share


def distributions(users: pl.DataFrame, items: pl.DataFrame, card: dict, dataset: str) -> Figure:
    """Draw the long tails: items by rank, the Lorenz curve of items, and the lengths of histories."""
    counts, lengths = items["count"].to_numpy(), users["length"].to_numpy()
    tail = card["tail_item_below"]
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, (rank, curve, length) = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
        descending = np.sort(counts[counts > 0])[::-1]
        rank.plot(np.arange(1, len(descending) + 1), descending, color=ACCENT)
        rank.axhline(tail - 0.5, color=MARK, linestyle="--")
        rank.set(xscale="log", yscale="log", xlabel="rank of the item", ylabel="training interactions")
        rank.set_title(f"{np.mean(counts < tail):.0%} of the items are tail (below {tail})")
        items_share, interactions_share = lorenz(counts)
        curve.plot(items_share, interactions_share, color=ACCENT)
        curve.plot([0, 1], [0, 1], color=MARK, linestyle="--")
        rarest = interactions_share[int(0.8 * len(counts))]
        curve.set(xlabel="share of the items, rarest first", ylabel="share of the interactions")
        curve.set_title(f"The rarest 80% have {rarest:.0%} of the interactions")
        sns.histplot(lengths, log_scale=True, ax=length, color=ACCENT, linewidth=0, bins=20)
        length.axvline(card["tail_user_below"] - 0.5, color=MARK, linestyle="--")
        length.set(xlabel="items in a user's history (log scale)", ylabel="users")
        length.set_title(f"{np.mean(lengths < card['tail_user_below']):.0%} of the users are tail")
        for axis in (rank.xaxis, rank.yaxis, length.xaxis):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("")
        figure.suptitle(f"{dataset_name(dataset)}: {len(users):,} users, {len(items):,} items")
    return alone(figure)
