"""Tables and figures of cold items: each method as it was placed best on the validation half."""

import matplotlib.pyplot as plt
import polars as pl
import seaborn as sns
from matplotlib.figure import Figure

from llmesr.report import BACKBONE_NAMES, METHOD_NAMES
from llmesr.report.plotting import ACCENT, MARK, alone

NAMES = {**METHOD_NAMES, "content": "Text alone, nearest item", "content_whitened": "Text alone, whitened"}
PROTOCOLS = {"new": "Among new items", "sampled": "Among sampled negatives", "full": "Full ranking"}
BETTER, WORSE = "▲", "▼"


def as_chosen(metrics: pl.DataFrame, chosen: dict[str, str], half: str) -> pl.DataFrame:
    """Keep each method's best placement, on one half of the cold items."""
    best = pl.DataFrame({"method": list(chosen), "placed": list(chosen.values())})
    return metrics.filter(half=half).join(best, on=["method", "placed"], maintain_order="left")


def heading(metrics: pl.DataFrame, metric: str) -> str:
    """Say what is shown: metric, dataset, backbone, seeds."""
    seeds = metrics.filter(pl.col("placed") != "")["seed"].n_unique()
    return (
        f"{metric} of new items, {metrics['dataset'][0]}, {BACKBONE_NAMES[metrics['backbone'][0]]}, "
        f"{seeds} seed{'s' * (seeds != 1)}"
    )


def table(metrics: pl.DataFrame, chosen: dict[str, str], tests: pl.DataFrame, metric: str, reference: str) -> str:
    """Lay out one metric by protocol on the test half, a row a method: mean ± standard deviation over seeds.

    A triangle marks a significant difference from `reference`; the best mean of each column is bold.

    Args:
        metrics: the frame of `metrics.csv`.
        chosen: method → its placement.
        tests: comparisons with the reference.
        metric: e.g. `NDCG@10`.
        reference: a method.

    Returns:
        what is shown, and a Markdown table.
    """
    kept = as_chosen(metrics, chosen, "test").filter(metric=metric)
    values = kept.group_by("method", "protocol", maintain_order=True).agg(
        pl.col("value").mean().alias("mean"), pl.col("value").std().fill_null(0.0).alias("std")
    )
    best = dict(values.group_by("protocol").agg(pl.col("mean").max()).iter_rows())
    rows = {(method, protocol): (mean, std) for method, protocol, mean, std in values.iter_rows()}
    flags = _flags(tests.filter(metric=metric, against=reference))
    lines = [f"| Method | Placed by | {' | '.join(PROTOCOLS.values())} |", "| --- | --- |" + " ---: |" * len(PROTOCOLS)]
    for method in values["method"].unique(maintain_order=True):
        cells = []
        for protocol in PROTOCOLS:
            mean, std = rows[method, protocol]
            text = f"**{mean:.3f}**" if mean == best[protocol] and mean > 0 else f"{mean:.3f}"
            cells.append(text + (f" ± {std:.3f}" if std else "") + flags.get((method, protocol), ""))
        lines.append(f"| {NAMES[method]} | {chosen[method] or '–'} | {' | '.join(cells)} |")
    note = (
        f"{heading(metrics, metric)}: mean ± standard deviation over seeds. {BETTER} significantly better, {WORSE} "
        f"significantly worse than *{NAMES[reference]}* (paired t-test over users, q < 0.05)."
    )
    return "\n".join([note, "", *lines])


def _flags(tests: pl.DataFrame) -> dict[tuple[str, str], str]:
    """Give the mark of each method and protocol that differs significantly."""
    rows = tests.filter("significant").select("method", "protocol", "difference").iter_rows()
    return {(method, protocol): BETTER if difference > 0 else WORSE for method, protocol, difference in rows}


def bars(metrics: pl.DataFrame, chosen: dict[str, str], metric: str, reference: str) -> Figure:
    """Draw each method under each protocol, ± one standard deviation over seeds; the dashed line is `reference`."""
    kept = as_chosen(metrics, chosen, "test").filter(metric=metric).with_columns(pl.col("method").replace(NAMES))
    order = kept["method"].unique(maintain_order=True).to_list()
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, axes = plt.subplots(1, 3, figsize=(13, 1.8 + 0.45 * len(order)), sharey=True, layout="constrained")
        for axis, (protocol, title) in zip(axes, PROTOCOLS.items(), strict=True):
            rows = kept.filter(protocol=protocol)
            sns.barplot(rows.to_pandas(), x="value", y="method", order=order, errorbar="sd", color=ACCENT, ax=axis)
            axis.axvline(rows.filter(method=NAMES[reference])["value"].mean(), color=MARK, linestyle="--")
            axis.set(xlabel=metric, ylabel="", title=title, xlim=(0, None))
            axis.locator_params(axis="x", nbins=5)  # more of them would run into each other
        figure.suptitle(
            f"{heading(metrics, metric)}\nbars ± one standard deviation over seeds; dashed: {NAMES[reference]}",
            fontsize="medium",
        )
    return alone(figure)
