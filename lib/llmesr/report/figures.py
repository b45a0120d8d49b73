"""Figures with seaborn; each is also saved under `results/<dataset>/figures/`."""

from pathlib import Path

import matplotlib.pyplot as plt
import polars as pl
import seaborn as sns
from matplotlib.figure import Figure

from llmesr.paths import replacing
from llmesr.report import BACKBONE_NAMES, METHOD_NAMES

PALETTE = {"None": "#9aa5b1", "LLMInit": "#e0a458", "LLM-ESR": "#2f6f9f"}

TAILS = {
    "tail_item": "Tail items",
    "head_item": "Head items",
    "tail_user": "Tail users",
    "head_user": "Head users",
}


def by_group(metrics: pl.DataFrame, protocol: str, metric: str, groups: dict[str, str], title: str) -> Figure:
    """Draw a metric by group, a panel a backbone, a bar a method; the line on a bar is ± one standard deviation.

    Args:
        metrics: the frame of `metrics.csv`.
        protocol: `sampled100` or `full`.
        metric: e.g. `NDCG@10`.
        groups: which groups, and what to call them.
        title: of the figure.
    """
    kept = metrics.filter(
        (pl.col("protocol") == protocol) & (pl.col("metric") == metric) & pl.col("group").is_in(list(groups))
    ).with_columns(
        pl.col("group").replace_strict(groups),
        pl.col("method").replace(METHOD_NAMES),
        pl.col("backbone").replace(BACKBONE_NAMES),
    )
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        grid = sns.catplot(
            kept.to_pandas(),
            kind="bar",
            x="group",
            y="value",
            hue="method",
            col="backbone",
            errorbar="sd",
            order=list(groups.values()),
            palette=_palette(kept),
            height=4.2,
            aspect=1.05,
            err_kws={"linewidth": 1.2},
        )
    grid.set_axis_labels("", f"{metric} ({protocol})").set_titles("{col_name}")
    grid.tick_params(axis="x", rotation=25)
    sns.move_legend(grid, "lower center", ncol=len(PALETTE), title=None, bbox_to_anchor=(0.45, -0.07))
    grid.figure.suptitle(title, y=1.03)
    return _alone(grid.figure)


def distributions(users: pl.DataFrame, items: pl.DataFrame, card: dict) -> Figure:
    """Draw the two long tails: users by input length and items by training popularity, both on log axes."""
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
            sns.histplot(counts.to_numpy() + 0.0, bins=40, ax=axis, color=PALETTE["LLM-ESR"])
            axis.axvline(threshold - 0.5, color="#c0392b", linestyle="--")
            share = (counts < threshold).mean()
            axis.set(xlabel=label, ylabel=f"{what} (log scale)", yscale="log")
            axis.set_title(f"{what}: {share:.0%} left of the line are the tail (< {threshold})")
    return _alone(figure)


def curve(history: list[dict[str, float]], best_epoch: int) -> Figure:
    """Draw loss and validation NDCG@10 by epoch; the dashed line marks the weights that are kept."""
    epochs = [row["epoch"] for row in history]
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, axes = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
        for axis, name, label in (
            (axes[0], "loss", "Training loss"),
            (axes[1], "NDCG@10", "Validation NDCG@10"),
        ):
            sns.lineplot(x=epochs, y=[row[name] for row in history], ax=axis, color=PALETTE["LLM-ESR"])
            axis.axvline(best_epoch, color="#c0392b", linestyle="--")
            axis.set(xlabel="Epoch", ylabel=label)
    return _alone(figure)


def heatmap(weights: object, labels: list[str], title: str) -> Figure:
    """Draw an attention map (T, T): each row shows where one position looks."""
    with sns.axes_style("white"), sns.plotting_context("notebook"):
        figure, axis = plt.subplots(figsize=(7.5, 6), layout="constrained")
        sns.heatmap(
            weights,
            ax=axis,
            cmap="crest",
            vmin=0,
            xticklabels=labels,
            yticklabels=labels,
            cbar_kws={"label": "attention"},
        )
        axis.set(xlabel="asked (keys, values)", ylabel="asking (queries)", title=title)
    return _alone(figure)


def save(figure: Figure, file: Path) -> None:
    """Save a figure as PNG, without the time of writing, so that the same figure has the same bytes."""
    with replacing(file) as temporary:
        figure.savefig(temporary, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})


def _alone(figure: Figure) -> Figure:
    """Take the figure off pyplot's list, or a notebook would show it twice."""
    plt.close(figure)
    return figure


def _palette(kept: pl.DataFrame) -> dict[str, str]:
    names = kept["method"].unique(maintain_order=True).to_list()
    others = sns.color_palette("deep", len(names))
    return {name: PALETTE.get(name, others[i]) for i, name in enumerate(names)}
