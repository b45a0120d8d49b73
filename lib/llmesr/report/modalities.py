"""Tables and figures of further modalities: what they know, what is left when they are missing, who said what."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.figure import Figure

from llmesr.plotting import alone


def coverage_bars(found: pl.DataFrame) -> Figure:
    """Draw the shares of tail and of head items that each view knows (`modalities.look.coverage`)."""
    long = found.unpivot(["of the tail", "of the head"], index="view", variable_name="items are", value_name="share")
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, axis = plt.subplots(figsize=(8, 1.6 + 0.5 * max(1, found.height)), layout="constrained")
        if found.height:
            sns.barplot(long.to_pandas(), x="share", y="view", hue="items are", ax=axis)
            sns.move_legend(axis, "center left", bbox_to_anchor=(1, 0.5), frameon=False)
        axis.set(xlabel="Share of items that the view knows", ylabel="", xlim=(0, 1))
    return alone(figure)


def missing_curves(found: pl.DataFrame, labels: Mapping[str, str], metric: str) -> Figure:
    """Draw a metric against the share of items that a view is hidden from, a panel a view; ± standard deviation."""
    kept = found.filter(metric=metric).with_columns(pl.col("variant").replace(labels))
    views, order = (kept[column].unique(maintain_order=True).to_list() for column in ("hidden", "variant"))
    colours = dict(zip(order, sns.color_palette("colorblind", len(order)), strict=True))
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        width = max(6.5, 4.2 * len(views))
        figure, axes = plt.subplots(
            1, len(views), figsize=(width, 4.4), sharey=True, squeeze=False, layout="constrained"
        )
        for axis, view in zip(axes[0], views, strict=True):
            rows = kept.filter(hidden=view).to_pandas()
            sns.lineplot(
                rows, x="share", y="value", hue="variant", style="variant", markers=True, errorbar="sd", ax=axis,
                palette=colours, hue_order=order, style_order=order,  # the same in every panel
            )  # fmt: skip
            axis.set(xlabel=f"Share of items without {view}", ylabel=f"{metric} (validation)", title=view)
            axis.get_legend().remove()
        handles, names = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)
    return alone(figure)


def missing_table(found: pl.DataFrame, labels: Mapping[str, str], metric: str) -> str:
    """Lay out a metric by the share of items that a view is hidden from, a row a variant and view: mean over seeds."""
    rows = found.filter(metric=metric).group_by("variant", "hidden", "share", maintain_order=True)
    means = rows.agg(pl.col("value").mean())
    shares = means["share"].unique().sort().to_list()
    lines = [f"| Variant | Hidden | {' | '.join(f'{share:.0%}' for share in shares)} |"]
    lines.append("| --- | --- |" + " ---: |" * len(shares))
    for (variant, hidden), rows in means.group_by("variant", "hidden", maintain_order=True):
        values = dict(rows.select("share", "value").iter_rows())
        lines.append(f"| {labels[variant]} | {hidden} | {' | '.join(f'{values[share]:.4f}' for share in shares)} |")
    return "\n".join(lines)


def share_bars(shares: Mapping[str, np.ndarray], titles: list[str]) -> Figure:
    """Draw how the scores of items share out to the views and the ID: bars beside each other, a group an item.

    Args:
        shares: by view, (n,).
        titles: n.
    """
    parts = [pl.DataFrame({"item": titles, "share": np.asarray(values)}) for values in shares.values()]
    named = [part.with_columns(view=pl.lit(name)) for name, part in zip(shares, parts, strict=True)]
    frame = pl.concat(named)
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, axis = plt.subplots(figsize=(9, 1.5 + 0.2 * frame.height), layout="constrained")
        sns.barplot(frame.to_pandas(), x="share", y="item", hue="view", ax=axis)
        axis.axvline(0, color="0.3", linewidth=0.8)
        axis.set(xlabel="Share of the score", ylabel="")
        sns.move_legend(axis, "center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return alone(figure)
