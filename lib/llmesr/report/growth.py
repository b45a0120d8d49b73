"""Table and figure of how time and memory grow."""

import matplotlib.pyplot as plt
import polars as pl
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from llmesr.report.plotting import alone

SIZES = {"users": "Users", "items": "Items", "length": "Interactions a user"}
DIGITS = {"seconds": 1, "peak_mb": 0}
"""What is measured, and its digits."""


def table(costs: pl.DataFrame) -> str:
    """Lay out seconds and peak memory, a row a size, two columns a step."""
    steps = costs["step"].unique(maintain_order=True).to_list()
    head = [*SIZES.values(), "Interactions", *(f"{step} {unit}" for step in steps for unit in ("s", "MB"))]
    lines = ["| " + " | ".join(head) + " |", "|" + " ---: |" * len(head)]
    for size, rows in costs.group_by([*SIZES, "interactions"], maintain_order=True):
        by_step = {row["step"]: row for row in rows.iter_rows(named=True)}
        cells = [f"{number:,}" for number in size]
        cells += [f"{by_step[step][what]:,.{digits}f}" for step in steps for what, digits in DIGITS.items()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def exponents(fits: pl.DataFrame) -> str:
    """Lay out the exponent b of seconds ∝ size^b with its standard error, a row a step, a column for what grows."""
    lines = ["| Step | " + " | ".join(SIZES.values()) + " |", "| --- |" + " ---: |" * len(SIZES)]
    for (step,), rows in fits.group_by(["step"], maintain_order=True):
        by = {row["grows"]: f"{row['exponent']:.2f} ± {row['error']:.2f}" for row in rows.iter_rows(named=True)}
        lines.append(f"| {step} | " + " | ".join(by[name] for name in SIZES) + " |")
    return "\n".join(lines)


def curves(costs: pl.DataFrame, base: dict[str, int]) -> Figure:
    """Draw seconds and memory of each step against users, items and length, one grown at a time, on logarithmic axes.

    Args:
        costs: the frame of `scale.csv`.
        base: users, items and length where each curve begins.
    """
    panels = (("seconds", "Wall seconds"), ("peak_mb", "Peak memory, MB"))
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, axes = plt.subplots(2, len(SIZES), figsize=(13, 7), sharey="row", sharex="col", layout="constrained")
        for row, (what, title) in zip(axes, panels, strict=True):
            for axis, (name, label) in zip(row, SIZES.items(), strict=True):
                others = {other: value for other, value in base.items() if other != name}
                kept = costs.filter(**others).to_pandas()
                sns.lineplot(kept, x=name, y=what, hue="step", style="step", markers=True, dashes=False, ax=axis)
                axis.set(xscale="log", yscale="log", xlabel=label, ylabel=title)
                ticks = sorted(set(kept[name]))
                axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
                axis.xaxis.set_minor_locator(NullLocator())
                axis.get_legend().remove()
        handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncol=len(labels), frameon=False)
    return alone(figure)
