"""How far apart are two methods, and how surely? Tables and forest plots of differences with their intervals."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import polars as pl
import seaborn as sns
from matplotlib.figure import Figure

from llmesr.evaluate.references import UNTRAINED
from llmesr.report import BACKBONE_NAMES, METHOD_NAMES, PROTOCOLS
from llmesr.report.plotting import ACCENT, MARK, alone, label

GROUPS = {"overall": "all test cases", "tail_item": "tail items"}
"""Those whose differences are shown."""
COLUMNS = [(protocol, group) for protocol in PROTOCOLS for group in GROUPS]
PAIRS = (("llmesr", "base"), ("llmesr", "popularity"), ("llmesr", "llminit"), ("dualmatch", "llmesr"))
"""The differences that readers ask for; the best other trained row is added for our own method."""
OWN = "dualmatch"

Rows = Mapping[str, Mapping[tuple[str, str], Mapping[str, Any]]]
"""A row's name → protocol and group → the comparison."""


def against(tests: pl.DataFrame, labels: Mapping[str, str], reference: str, metric: str) -> Rows:
    """Gather the comparisons of methods or variants with one of them.

    Args:
        tests: as `compare` gives them, of one backbone.
        labels: name → what it is called, in the order of the rows.
        reference: the name of that one.
        metric: e.g. `NDCG@10`.
    """
    kept = tests.filter(pl.col("method").is_in(list(labels)), against=reference, metric=metric)
    found: dict[str, dict] = {text: {} for name, text in labels.items() if name in set(kept["method"])}
    for row in kept.to_dicts():
        found[labels[row["method"]]][row["protocol"], row["group"]] = row
    return found


def pairs(tests: pl.DataFrame, metrics: pl.DataFrame, metric: str) -> Rows:
    """Gather the differences that readers ask for, on every backbone, A − B a row.

    Args:
        tests: the frame of `significance.csv`.
        metrics: the frame of `metrics.csv`, which tells the best other row.
        metric: e.g. `NDCG@10`.
    """
    backbones = [one for one in metrics["backbone"].unique(maintain_order=True) if one != UNTRAINED]
    wanted = [(backbone, pair) for pair in PAIRS for backbone in backbones]
    for backbone in backbones:
        own = metrics.filter(backbone=backbone, metric=metric, protocol="sampled", group="overall")
        others = own.filter(pl.col("method") != OWN).group_by("method").agg(pl.mean("value")).sort("value", "method")
        wanted += [(backbone, (OWN, best)) for best in others["method"].to_list()[-1:] if (OWN, best) not in PAIRS]
    rows = {}
    for backbone, (one, other) in wanted:
        found = {}
        for row in tests.filter(backbone=backbone, metric=metric).to_dicts():
            if (row["method"], row["against"]) == (one, other):
                found[row["protocol"], row["group"]] = row
            elif (row["method"], row["against"]) == (other, one):
                turned = {"difference": -row["difference"], "low": -row["high"], "high": -row["low"]}
                found[row["protocol"], row["group"]] = {**row, **turned}
        if found:
            rows[f"{BACKBONE_NAMES[backbone]}: {METHOD_NAMES[one]} − {METHOD_NAMES[other]}"] = found
    return rows


def table(rows: Rows, title: str) -> str:
    """Lay out differences, a row each: the difference, its 95 % interval, and q.

    Args:
        rows: the comparisons.
        title: the head of the first column.

    Returns:
        a Markdown table; ▲ marks what is significantly better, ▼ what is worse, – what is neither.
    """
    titles = [f"{GROUPS[group].capitalize()}, {PROTOCOLS[protocol]}" for protocol, group in COLUMNS]
    lines = [f"| {title} | {' | '.join(titles)} |", f"| --- |{' ---: |' * len(titles)}"]
    lines += [
        f"| {name} | {' | '.join(_cell(found.get(column)) for column in COLUMNS)} |" for name, found in rows.items()
    ]
    return "\n".join(lines)


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    mark = "–" if not row["significant"] else "▲" if row["difference"] > 0 else "▼"
    q = "q < 0.001" if row["q"] < 0.001 else f"q = {row['q']:.3f}"
    return f"{mark} {row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}], {q}"


def forest(rows: Rows, title: str, what: str) -> Figure:
    """Draw differences, a dot each with its 95 % interval over users; a full dot is significant.

    A row of panels a protocol, a column for all test cases and one for those of tail items.

    Args:
        rows: the comparisons, the first one on top.
        title: what the figure shows, of which data.
        what: the label of the horizontal axes.
    """
    places = range(len(rows) - 1, -1, -1)
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, panels = plt.subplots(
            2, len(GROUPS), figsize=(10, 2.6 + 0.6 * len(rows)), sharey=True, sharex="row", layout="constrained"
        )
        for axes, (protocol, ranking) in zip(panels, PROTOCOLS.items(), strict=True):
            for axis, group in zip(axes, GROUPS, strict=True):
                axis.axvline(0, color=MARK, linestyle="--")
                for place, found in zip(places, rows.values(), strict=True):
                    if row := found.get((protocol, group)):
                        axis.plot([row["low"], row["high"]], [place, place], color=ACCENT, linewidth=1.6)
                        face = ACCENT if row["significant"] else "white"
                        axis.plot(row["difference"], place, "o", color=ACCENT, markerfacecolor=face)
                axis.set(title=f"{GROUPS[group]}, {ranking}", xlabel=what, ylim=(-0.6, len(rows) - 0.4))
                axis.set_yticks(list(places), [label(name) for name in rows])
                axis.locator_params(axis="x", nbins=5)  # more would touch each other
        figure.suptitle(f"{title}. Bars: 95 % interval over users, given these seeds; full dots: significant")
    return alone(figure)
