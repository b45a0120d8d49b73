"""The published numbers beside ours: gains over the plain backbone, since the datasets are not the same."""

import matplotlib.pyplot as plt
import polars as pl
import seaborn as sns
from matplotlib.figure import Figure

from llmesr.paths import results
from llmesr.plotting import alone
from llmesr.report import BACKBONE_NAMES, METHOD_NAMES

PAPER = "Liu et al. 2024"
RUN = ("dataset", "backbone", "method")
NAMES = {**METHOD_NAMES, "rlmrec": "RLMRec"}


def published() -> pl.DataFrame:
    """Load what was published: `results/published.csv`; `verified` tells whether the figure could be checked."""
    return pl.read_csv(results("published.csv"))


def gains(metrics: pl.DataFrame, metric: str, groups: tuple[str, ...] = ("overall", "tail_item")) -> pl.DataFrame:
    """Compute every method's gain over the plain backbone, means over seeds, at sampled100.

    Args:
        metrics: `dataset, backbone, method, protocol, group, metric, value`.
        metric: e.g. `NDCG@10`.
        groups: of which the gain is asked.

    Returns:
        `dataset, backbone, method, group, value, plain, gain`; gain is value / plain - 1.
    """
    known = pl.col("group").is_in(groups) & pl.col("method").is_in(list(NAMES))  # no variants of a study
    kept = metrics.filter(known, protocol="sampled100", metric=metric)
    keys = ["dataset", "backbone", "group"]
    means = kept.group_by([*keys, "method"], maintain_order=True).agg(pl.col("value").mean())
    plain = means.filter(method="none").select(*keys, pl.col("value").alias("plain"))
    found = means.filter(pl.col("method") != "none").join(plain, on=keys, how="inner", maintain_order="left")
    return found.with_columns((pl.col("value") / pl.col("plain") - 1).alias("gain"))


def table(theirs: pl.DataFrame, ours: pl.DataFrame) -> str:
    """Lay out gains side by side, a row a source, dataset, backbone and method."""
    lines = [
        "| Source | Dataset | Backbone | Method | Overall | Tail item |",
        "| --- | --- | --- | --- | ---: | ---: |",
    ]
    for source, frame in ((PAPER, theirs), ("here", ours)):
        gains = {tuple(run): gain for *run, gain in frame.select(*RUN, "group", "gain").iter_rows()}
        for dataset, backbone, method in dict.fromkeys(run[:3] for run in gains):
            found = [gains.get((dataset, backbone, method, group)) for group in ("overall", "tail_item")]
            cells = ["–" if gain is None else f"{gain:+.1%}" for gain in found]
            names = f"{source} | {dataset} | {BACKBONE_NAMES.get(backbone, backbone)} | {NAMES[method]}"
            lines.append(f"| {names} | {' | '.join(cells)} |")
    return "\n".join(lines)


def bars(theirs: pl.DataFrame, ours: pl.DataFrame, method: str) -> Figure:
    """Draw one method's gain overall and on tail items, by dataset: the paper's and ours."""
    both = pl.concat(
        [theirs.with_columns(pl.lit("paper").alias("source")), ours.with_columns(pl.lit("here").alias("source"))]
    )
    both = both.filter(method=method).with_columns(
        pl.format("{}\n{}", pl.col("dataset"), pl.col("backbone").replace(BACKBONE_NAMES)).alias("where"),
        pl.col("gain") * 100,
    )
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, axes = plt.subplots(1, 2, figsize=(13, 4.2), layout="constrained")
        for axis, (group, title) in zip(axes, (("overall", "Overall"), ("tail_item", "Tail items")), strict=True):
            rows = both.filter(group=group).to_pandas()
            sns.barplot(rows, x="where", y="gain", hue="source", palette="deep", dodge=False, ax=axis)
            axis.set(xlabel="", ylabel="gain over the plain backbone, %", title=title)
            axis.tick_params(axis="x", labelrotation=60, labelsize=9)
            axis.legend(title="", loc="upper right") if group == "overall" else axis.get_legend().remove()
    return alone(figure)


def ablation(metrics: pl.DataFrame, labels: dict[str, str], metric: str) -> str:
    """Lay out the ablation, overall at sampled100: as published, as reproduced by others, and ours, a row a variant.

    Args:
        metrics: ours, of `full` and its variants.
        labels: what each variant is called.
        metric: e.g. `NDCG@10`.
    """
    theirs = published().filter(backbone="sasrec", dataset="yelp", group="overall", metric=metric)
    theirs = theirs.with_columns(pl.col("method").replace("llmesr", "full"))
    sources = theirs["source"].unique(maintain_order=True).to_list()
    ours = metrics.filter(group="overall", protocol="sampled100", metric=metric)
    lines = [f"| Variant | {' | '.join(f'{source} (Yelp)' for source in sources)} | here |"]
    lines.append(f"| --- |{' ---: |' * (len(sources) + 1)}")
    for method, label in labels.items():
        found = [theirs.filter(source=source, method=method)["value"] for source in sources]
        cells = [f"{value[0]:.4f}" if len(value) else "–" for value in found]
        lines.append(f"| {label} | {' | '.join(cells)} | {ours.filter(method=method)['value'].mean():.4f} |")
    return "\n".join(lines)
