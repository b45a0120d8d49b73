"""Tables and figures of new items: each method as it was placed best on validation."""

import matplotlib.pyplot as plt
import polars as pl
import seaborn as sns
from matplotlib.figure import Figure

from llmesr.plotting import ACCENT, MARK, alone
from llmesr.report import METHOD_NAMES
from llmesr.report.tables import FLAG

NAMES = {**METHOD_NAMES, "content": "Text alone, nearest item", "content_whitened": "Text alone, whitened"}
PROTOCOLS = {"new": "Among new items", "sampled100": "Against 100 sampled", "full": "Whole catalogue"}


def as_chosen(metrics: pl.DataFrame, chosen: dict[str, str], half: str) -> pl.DataFrame:
    """Keep each method's best placement, on one half of the new items."""
    picked = pl.DataFrame({"method": list(chosen), "placed": list(chosen.values())})
    return metrics.filter(half=half).join(picked, on=["method", "placed"], maintain_order="left")


def table(metrics: pl.DataFrame, chosen: dict[str, str], tests: pl.DataFrame, metric: str, reference: str) -> str:
    """Lay out one metric by protocol on the test half, a row a method: mean ± standard deviation over seeds.

    A dagger marks a significant difference from `reference`; the best mean of each column is bold.
    """
    kept = as_chosen(metrics, chosen, "test").filter(metric=metric)
    values = kept.group_by("method", "protocol", maintain_order=True).agg(
        pl.col("value").mean().alias("mean"), pl.col("value").std().fill_null(0.0).alias("std")
    )
    best = dict(values.group_by("protocol").agg(pl.col("mean").max()).iter_rows())
    sure = tests.filter("significant", metric=metric, against=reference)
    flagged = set(sure.select("method", "protocol").iter_rows())
    lines = [f"| Method | Placed by | {' | '.join(PROTOCOLS.values())} |", "| --- | --- |" + " ---: |" * len(PROTOCOLS)]
    for method in values["method"].unique(maintain_order=True):
        rows = {row["protocol"]: row for row in values.filter(method=method).iter_rows(named=True)}
        cells = []
        for protocol in PROTOCOLS:
            mean, std = rows[protocol]["mean"], rows[protocol]["std"]
            text = f"**{mean:.4f}**" if mean == best[protocol] and mean > 0 else f"{mean:.4f}"
            spread = f" ± {std:.4f}" if std else ""
            cells.append(text + spread + FLAG * ((method, protocol) in flagged))
        lines.append(f"| {NAMES[method]} | {chosen[method] or '–'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def bars(metrics: pl.DataFrame, chosen: dict[str, str], metric: str, reference: str) -> Figure:
    """Draw each method under each protocol, ± one standard deviation over seeds; the dashed line is `reference`."""
    kept = as_chosen(metrics, chosen, "test").filter(metric=metric).with_columns(pl.col("method").replace(NAMES))
    order = kept["method"].unique(maintain_order=True).to_list()
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, axes = plt.subplots(1, 3, figsize=(13, 1.2 + 0.45 * len(order)), sharey=True, layout="constrained")
        for axis, (protocol, title) in zip(axes, PROTOCOLS.items(), strict=True):
            rows = kept.filter(protocol=protocol)
            sns.barplot(rows.to_pandas(), x="value", y="method", order=order, errorbar="sd", color=ACCENT, ax=axis)
            axis.axvline(rows.filter(method=NAMES[reference])["value"].mean(), color=MARK, linestyle="--")
            axis.set(xlabel=metric, ylabel="", title=title)
            axis.locator_params(axis="x", nbins=5)  # more of them would run into each other
    return alone(figure)
