"""Who gains: bars by group, who moves hits where, and the users behind the means."""

import matplotlib.pyplot as plt
import polars as pl
import seaborn as sns
from matplotlib.figure import Figure

from llmesr.evaluate.references import UNTRAINED
from llmesr.metrics import ndcg
from llmesr.prepare.dataset import Dataset
from llmesr.report import BACKBONE_NAMES, METHOD_NAMES, PROTOCOLS
from llmesr.report.plotting import alone, palette

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
    colours = palette(kept["method"])
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
    figure.suptitle(title + (". Lines: ± 1 standard deviation over seeds" if kept["seed"].n_unique() > 1 else ""))
    return alone(figure)


def head_against_tail(metrics: pl.DataFrame, metric: str, title: str) -> Figure:
    """Draw each method as a point, tail items to the right and head items upwards: who moves hits where.

    A row of panels a protocol, a column a backbone; an arrow leads from the backbone alone to each method.

    Args:
        metrics: the frame of `metrics.csv`.
        metric: e.g. `NDCG@10`.
        title: what the figure shows, of which data.
    """
    trained = metrics.filter(pl.col("backbone") != UNTRAINED, metric=metric)
    kept = trained.filter(pl.col("group").is_in(["tail_item", "head_item"])).with_columns(
        pl.col("method").replace(METHOD_NAMES)
    )
    means = kept.group_by("backbone", "method", "protocol", "group", maintain_order=True).agg(pl.mean("value"))
    wide = means.pivot("group", index=["backbone", "method", "protocol"], values="value")
    backbones, colours = kept["backbone"].unique(maintain_order=True).to_list(), palette(kept["method"])
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, panels = plt.subplots(
            2, len(backbones), figsize=(4.4 * len(backbones), 8), squeeze=False, sharex="row", sharey="row",
            layout="constrained",
        )  # fmt: skip
        for axes, (protocol, ranking) in zip(panels, PROTOCOLS.items(), strict=True):
            for axis, backbone in zip(axes, backbones, strict=True):
                points = {row["method"]: row for row in wide.filter(backbone=backbone, protocol=protocol).to_dicts()}
                start = points.get("Base")
                for name, point in points.items():
                    x, y = point["tail_item"], point["head_item"]
                    axis.plot(x, y, "o", color=colours[name], label=name, markersize=8)
                    if start and name != "Base":
                        line = {"arrowstyle": "-", "color": colours[name], "alpha": 0.5}
                        axis.annotate("", (x, y), (start["tail_item"], start["head_item"]), arrowprops=line)
                axis.set(title=f"{BACKBONE_NAMES[backbone]}, {ranking}", xlabel=f"{metric} of tail items")
                axis.set(ylabel=f"{metric} of head items")
                axis.locator_params(axis="x", nbins=5)
                handles, labels = axis.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncol=min(6, len(labels)), frameon=False)
        figure.suptitle(title)
    return alone(figure)


def moved(ranks: pl.DataFrame, data: Dataset, backbone: str, method: str, other: str, k: int = 10) -> pl.DataFrame:
    """List who gains and who loses the most from one method to another, in the sampled ranking.

    Args:
        ranks: of all runs, as the evaluation leaves them.
        data: for titles and histories.
        backbone: of both.
        method: the one that is asked about.
        other: the one that it is compared with.
        k: of NDCG@k, averaged over seeds.

    Returns:
        `user`, `change`, `next item`, `tail item`, `bought before` (the latest five training items), those who gain
        first.
    """
    kept = ranks.filter(pl.col("method").is_in([method, other]), backbone=backbone, protocol="sampled")
    values = kept.with_columns(pl.Series("value", ndcg(kept["rank"].to_numpy(), k)))
    means = values.group_by("user", "item", "item_group", "method").agg(pl.mean("value"))
    wide = means.pivot("method", index=["user", "item", "item_group"], values="value")
    change = (pl.col(method) - pl.col(other)).round(3).alias("change")
    rows = wide.select("user", "item", "item_group", change).sort("change", "user", descending=[True, False])
    before = ["; ".join(data.titles[item] for item in data.train[user][-5:]) for user in rows["user"]]
    return rows.select(
        data.users["user_id"].gather(rows["user"]).alias("user"),
        "change",
        pl.Series("next item", [data.titles[item] for item in rows["item"]]),
        (pl.col("item_group") == "tail_item").alias("tail item"),
        pl.Series("bought before", before),
    )
