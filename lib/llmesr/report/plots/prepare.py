"""Looks at a prepared dataset, for the lessons."""

import matplotlib.pyplot as plt
import polars as pl
import seaborn as sns
from matplotlib.figure import Figure

from llmesr.report.plotting import ACCENT, MARK, alone


def distributions(users: pl.DataFrame, items: pl.DataFrame, card: dict) -> Figure:
    """Draw the two long tails: users by input length and items by training popularity, with a logarithmic count."""
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
        panels = (
            (
                axes[0],
                users["length"],
                card["tail_user_below"],
                "Items of a user (input at test time)",
                "Users",
            ),
            (axes[1], items["count"], card["tail_item_below"], "Training interactions of an item", "Items"),
        )
        for axis, counts, threshold, label, what in panels:
            sns.histplot(counts.to_numpy(), discrete=True, ax=axis, color=ACCENT, linewidth=0)
            axis.axvline(threshold - 0.5, color=MARK, linestyle="--")
            share = (counts < threshold).mean()
            axis.set(xlabel=label, ylabel=f"{what} (log scale)", yscale="log", ylim=(0.7, None))
            axis.set_title(f"{what}: {share:.0%} left of the line are the tail (< {threshold})")
    return alone(figure)
