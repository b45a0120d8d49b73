"""Figures with seaborn."""

import matplotlib.pyplot as plt
import polars as pl
import seaborn as sns
from matplotlib.figure import Figure

from llmesr.evaluate.references import UNTRAINED
from llmesr.report import BACKBONE_NAMES, METHOD_NAMES
from llmesr.report.plotting import PALETTE, alone

TAILS = {
    "tail_item": "Tail items",
    "head_item": "Head items",
    "tail_user": "Tail users",
    "head_user": "Head users",
}


def by_group(
    metrics: pl.DataFrame, protocol: str, metric: str, families: dict[str, dict[str, str]], title: str
) -> Figure:
    """Draw a metric by group: a row of panels a family, a column a backbone, a bar a method.

    The line on a bar is ± one standard deviation over seeds.

    Args:
        metrics: the frame of `metrics.csv`.
        protocol: `sampled` or `full`.
        metric: e.g. `NDCG@10`.
        families: for each family the label of its horizontal axis, its groups, and what to call them.
        title: of the figure.
    """
    trained = pl.col("backbone") != UNTRAINED  # references have no panel: they would be bars of one kind each
    kept = metrics.filter(trained, protocol=protocol, metric=metric).with_columns(
        pl.col("method").replace(METHOD_NAMES), pl.col("backbone").replace(BACKBONE_NAMES)
    )
    backbones = kept["backbone"].unique(maintain_order=True).to_list()
    colours = _palette(kept)
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, axes = plt.subplots(
            len(families), len(backbones), figsize=(4.6 * len(backbones), 3.6 * len(families)),
            sharey="row", squeeze=False, layout="constrained",
        )  # fmt: skip
        for row, (label, groups) in zip(axes, families.items(), strict=True):
            named = kept.filter(pl.col("group").is_in(list(groups))).with_columns(pl.col("group").replace(groups))
            for axis, backbone in zip(row, backbones, strict=True):
                sns.barplot(
                    named.filter(backbone=backbone).to_pandas(), x="group", y="value", hue="method", errorbar="sd",
                    order=list(groups.values()), palette=colours, err_kws={"linewidth": 1.2}, ax=axis,
                )  # fmt: skip
                handles, labels = axis.get_legend_handles_labels()
                axis.get_legend().remove()
                axis.set(xlabel=label, ylabel=f"{metric} ({protocol})", title=backbone)
    figure.legend(handles, labels, loc="outside lower center", ncol=len(colours), frameon=False)
    figure.suptitle(title)
    return alone(figure)


def _palette(kept: pl.DataFrame) -> dict[str, str]:
    names = kept["method"].unique(maintain_order=True).to_list()
    others = sns.color_palette("deep", len(names))
    return {name: PALETTE.get(name, others[i]) for i, name in enumerate(names)}
