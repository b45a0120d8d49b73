"""Figures with seaborn."""

import polars as pl
import seaborn as sns
from matplotlib.figure import Figure

from llmesr.plotting import PALETTE, alone
from llmesr.report import BACKBONE_NAMES, METHOD_NAMES

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
    return alone(grid.figure)


def _palette(kept: pl.DataFrame) -> dict[str, str]:
    names = kept["method"].unique(maintain_order=True).to_list()
    others = sns.color_palette("deep", len(names))
    return {name: PALETTE.get(name, others[i]) for i, name in enumerate(names)}
