"""Tables and figures of further modalities: what views know, what is left when they are missing, their shares."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.figure import Figure

from llmesr.report.plotting import alone, label

ITEMS = {"of the tail": "tail items", "of the head": "head items"}
"""The columns of shares in a coverage, and what figures call them."""


def coverage_table(coverage: pl.DataFrame, steps: Mapping[str, int], dataset: str) -> str:
    """Lay out what each view knows, and below it how many of users' texts were left after each step.

    Args:
        coverage: as `extras.modalities.coverage` gives it.
        steps: texts left after each step, none if the dataset has no texts.
        dataset: its name.
    """
    if coverage.is_empty():
        text = (
            f"'datasets.{dataset}.modalities' names no view, so the text of its prompt is all that is known of an item."
        )
    else:
        lines = ["| View | Width | Items | Of the tail | Of the head |", "| --- | ---: | ---: | ---: | ---: |"]
        lines += [
            f"| {view} | {width:,} | {items:,} | {tail:.1%} | {head:.1%} |"
            for view, width, items, tail, head in coverage.iter_rows()
        ]
        text = f"Items of {dataset} that each view knows.\n\n" + "\n".join(lines)
    return f"{text}\n\n{steps_table(steps, dataset)}"


def steps_table(steps: Mapping[str, int], dataset: str) -> str:
    """Lay out how many of users' texts were left after each step; a sentence if there are none."""
    if not any(steps.values()):
        return f"No texts by users of {dataset} were read."
    rows = [f"| {step} | {left:,} |" for step, left in steps.items()]
    return "\n".join([f"Texts by users of {dataset}.\n", "| Step | Texts left |", "| --- | ---: |", *rows])


def coverage_bars(coverage: pl.DataFrame, dataset: str) -> Figure:
    """Draw the shares of tail and of head items that each of at least one view knows."""
    long = coverage.select("view", *ITEMS).unpivot(index="view", variable_name="items", value_name="share")
    long = long.with_columns(pl.col("items").replace(ITEMS))
    colours = dict(zip(ITEMS.values(), sns.color_palette("colorblind", len(ITEMS)), strict=True))
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, axis = plt.subplots(figsize=(8, 1.8 + 0.5 * coverage.height), layout="constrained")
        sns.barplot(long.to_pandas(), x="share", y="view", hue="items", palette=colours, ax=axis)
        sns.move_legend(axis, "center left", bbox_to_anchor=(1, 0.5), frameon=False, title="")
        axis.set(xlabel="Share of items that the view knows", ylabel="View", xlim=(0, 1))
        axis.set_title(f"What each view knows of the items of {dataset}")
    return alone(figure)


def missing_curves(losses: pl.DataFrame, labels: Mapping[str, str], metric: str, dataset: str) -> Figure:
    """Draw a metric against the share of items that a view is hidden from, a panel a view.

    The bar is ± one standard deviation over seeds.

    Args:
        losses: as `extras.modalities.missing.run` gives them.
        labels: what each variant is called.
        metric: e.g. `NDCG@10`.
        dataset: its name.
    """
    kept = losses.filter(metric=metric).with_columns(pl.col("variant").replace(labels))
    views, order = (kept[column].unique(maintain_order=True).to_list() for column in ("hidden", "variant"))
    colours = dict(zip(order, sns.color_palette("colorblind", len(order)), strict=True))
    seeds = kept["seed"].n_unique()
    spread = f"{seeds} seeds, bar: ± 1 standard deviation" if seeds > 1 else "1 seed"
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        columns = min(len(views), 2)
        rows = -(-len(views) // columns)
        size = (max(6.5, 5 * columns), 1.6 + 3.3 * rows)
        figure, grid = plt.subplots(rows, columns, figsize=size, sharey=True, squeeze=False, layout="constrained")
        for axis in grid.flat[len(views) :]:
            axis.set_visible(False)
        for axis, view in zip(grid.flat, views, strict=False):
            sns.lineplot(
                kept.filter(hidden=view).to_pandas(), x="share", y="value", hue="variant", style="variant",
                markers=True, errorbar="sd", err_style="bars", ax=axis,
                palette=colours, hue_order=order, style_order=order,  # the same in every panel
            )  # fmt: skip
            axis.set(xlabel=f"Share of items without {view}", ylabel=f"{metric} (validation)", title=f"Hidden: {view}")
            axis.get_legend().remove()
        handles, names = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)
        figure.suptitle(f"Accuracy when a view is hidden, on {dataset}\n({spread})")
    return alone(figure)


def missing_table(losses: pl.DataFrame, labels: Mapping[str, str], metric: str, dataset: str) -> str:
    """Lay out a metric by the share of items that a view is hidden from, a row a variant and view: mean over seeds."""
    kept = losses.filter(metric=metric)
    means = kept.group_by("variant", "hidden", "share", maintain_order=True).agg(pl.col("value").mean())
    shares = means["share"].unique().sort().to_list()
    lines = [
        f"{metric} on validation of {dataset}, by the share of items that a view is hidden from.",
        f"The values are means over seeds ({', '.join(map(str, kept['seed'].unique().sort()))}).",
        "",
        f"| Variant | Hidden | {' | '.join(f'{share:.0%}' for share in shares)} |",
        "| --- | --- |" + " ---: |" * len(shares),
    ]
    for (variant, hidden), rows in means.group_by("variant", "hidden", maintain_order=True):
        values = dict(rows.select("share", "value").iter_rows())
        lines.append(f"| {labels[variant]} | {hidden} | {' | '.join(f'{values[share]:.3f}' for share in shares)} |")
    return "\n".join(lines)


def share_bars(shares: Mapping[str, np.ndarray], titles: list[str], dataset: str) -> Figure:
    """Draw how the scores of items share out to the views and the ID: bars beside each other, a group an item.

    Args:
        shares: by view, (n,).
        titles: n.
        dataset: its name.
    """
    items = [f"{place}. {label(title)}" for place, title in enumerate(titles, start=1)]  # titles may be alike
    parts = [pl.DataFrame({"item": items, "share": np.asarray(values)}) for values in shares.values()]
    named = [part.with_columns(view=pl.lit(name)) for name, part in zip(shares, parts, strict=True)]
    frame = pl.concat(named)
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, axis = plt.subplots(figsize=(9, 1.8 + 0.2 * frame.height), layout="constrained")
        sns.barplot(frame.to_pandas(), x="share", y="item", hue="view", palette="colorblind", ax=axis)
        axis.axvline(0, color="0.3", linewidth=0.8)
        axis.set(xlabel="Share of the score (Shapley value)", ylabel="")
        axis.set_title(f"What each view adds to the scores of one user of {dataset}")
        sns.move_legend(axis, "center left", bbox_to_anchor=(1, 0.5), frameon=False, title="View")
    return alone(figure)
