"""What the protocol does to an order of methods, and what accuracy costs."""

import matplotlib.pyplot as plt
import polars as pl
import seaborn as sns
from matplotlib.figure import Figure

from llmesr.evaluate.references import UNTRAINED
from llmesr.report import BACKBONE_NAMES, METHOD_NAMES
from llmesr.report.plotting import alone, palette


def slopes(metrics: pl.DataFrame, metric: str, title: str) -> Figure:
    """Draw each method's place in the order under both rankings, joined by a line: a panel a backbone.

    Args:
        metrics: the frame of `metrics.csv`.
        metric: e.g. `NDCG@10`.
        title: what the figure shows, of which data.
    """
    kept = metrics.filter(pl.col("backbone") != UNTRAINED, metric=metric, group="overall")
    means = kept.group_by("backbone", "method", "protocol", maintain_order=True).agg(pl.mean("value"))
    means = means.with_columns(pl.col("method").replace(METHOD_NAMES))
    backbones, colours = means["backbone"].unique(maintain_order=True).to_list(), palette(means["method"])
    with sns.axes_style("white"), sns.plotting_context("notebook"):
        figure, axes = plt.subplots(
            1, len(backbones), figsize=(4.4 * len(backbones), 4.6), squeeze=False, layout="constrained"
        )
        for axis, backbone in zip(axes[0], backbones, strict=True):
            own = means.filter(backbone=backbone)
            order = {
                protocol: own.filter(protocol=protocol).sort("value", descending=True)["method"].to_list()
                for protocol in ("sampled", "full")
            }
            for name in order["sampled"]:
                y = [order["sampled"].index(name) + 1, order["full"].index(name) + 1]
                axis.plot([0, 1], y, "o-", color=colours[name], linewidth=2)
                axis.text(-0.06, y[0], name, ha="right", va="center", color=colours[name])
                axis.text(1.06, y[1], name, ha="left", va="center", color=colours[name])
            axis.set(xlim=(-0.9, 1.9), ylim=(len(order["sampled"]) + 0.5, 0.5), title=BACKBONE_NAMES[backbone])
            axis.set_xticks([0, 1], ["sampled\nranking", "full\nranking"])
            axis.set_yticks(range(1, len(order["sampled"]) + 1))
            axis.set_ylabel(f"place by {metric}, overall")
            sns.despine(ax=axis, bottom=True)
        figure.suptitle(title)
    return alone(figure)


def accuracy_and_time(metrics: pl.DataFrame, timings: pl.DataFrame, protocol: str, metric: str, title: str) -> Figure:
    """Draw each method's accuracy against the seconds that its training took, means over seeds and ± 1 deviation.

    Args:
        metrics: the frame of `metrics.csv`.
        timings: the frame of `timings.csv`.
        protocol: `sampled` or `full`.
        metric: e.g. `NDCG@10`.
        title: what the figure shows, of which data.
    """
    keys = ["backbone", "method"]
    accuracy = metrics.filter(protocol=protocol, metric=metric, group="overall").group_by(keys)
    accuracy = accuracy.agg(pl.mean("value"), pl.std("value").fill_null(0).alias("spread"))
    seconds = timings.filter(what="train_seconds").group_by(keys).agg(pl.mean("value").alias("seconds"))
    both = accuracy.join(seconds, on=keys).sort(keys)
    both = both.with_columns(
        pl.col("method").replace(METHOD_NAMES).alias("Method"),
        pl.col("backbone").replace(BACKBONE_NAMES).alias("Backbone"),
    )
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, axis = plt.subplots(figsize=(9.5, 5.2), layout="constrained")
        sns.scatterplot(
            both.to_pandas(), x="seconds", y="value", hue="Method", style="Backbone", s=110, ax=axis,
            palette=palette(both["Method"]),
        )  # fmt: skip
        axis.errorbar(both["seconds"], both["value"], both["spread"], fmt="none", ecolor="#8a949e", zorder=0)
        axis.set(xscale="log", xlabel="training seconds a run, one core (log scale)", ylabel=f"{metric} ({protocol})")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("{x:g}")
        axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
        lines = ". Lines: ± 1 standard deviation over seeds" if both["spread"].max() else ""
        axis.set_title(title + lines, fontsize="medium")
    return alone(figure)
