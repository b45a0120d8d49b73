"""Tables and figures of the studies: LLM-ESR with one thing changed, beside LLM-ESR as it is."""

from typing import Any

import matplotlib.pyplot as plt
import polars as pl
import seaborn as sns
from matplotlib.figure import Figure

from llmesr.report import BACKBONE_NAMES
from llmesr.report.plotting import ACCENT, MARK, alone
from llmesr.report.tables import FLAG, SECOND_FLAG, over_seeds

FULL = "full"
"""What LLM-ESR as it is, is called among its variants."""
COLUMNS = {"overall": "Overall", "tail_item": "Tail item", "head_item": "Head item", "tail_user": "Tail user"}


def table(
    metrics: pl.DataFrame,
    labels: dict[str, str],
    tests: pl.DataFrame,
    protocol: str,
    metric: str,
    reference: str = FULL,
    second: str | None = None,
) -> str:
    """Lay out one metric by group, a row a variant: mean ± standard deviation over seeds.

    Args:
        metrics: of the variants and of `full`.
        labels: what each variant is called, in the order of the rows.
        tests: comparisons with the reference, and the second one; a dagger, a double one, marks a significant
            difference.
        protocol: `sampled` or `full`.
        metric: e.g. `NDCG@10`.
        reference: the variant, or `full`, that the others are compared with.
        second: another variant that they are compared with as well; with the reference it is compared in its own row.

    Returns:
        a Markdown table; the last column is the change of the overall mean against the reference.
    """
    means = {
        (method, group): (mean, f" ± {std:.4f}" if seeds > 1 else "")
        for _, method, group, mean, std, seeds in over_seeds(metrics, protocol, metric).iter_rows()
    }
    sure = tests.filter("significant", protocol=protocol, metric=metric)
    flagged = set(sure.select("method", "group", "against").iter_rows())
    lines = [f"| Variant | {' | '.join(COLUMNS.values())} | Change |", f"| --- |{' ---: |' * (len(COLUMNS) + 1)}"]
    for method, label in labels.items():
        cells = []
        for group in COLUMNS:
            mean, spread = means.get((method, group), (None, ""))
            flags = FLAG * ((method, group, reference) in flagged) + SECOND_FLAG * ((method, group, second) in flagged)
            cells.append("–" if mean is None else f"{mean:.4f}{spread}{flags}")
        change = means[method, "overall"][0] / means[reference, "overall"][0] - 1
        lines.append(f"| {label} | {' | '.join(cells)} | {'' if method == reference else f'{change:+.1%}'} |")
    return "\n".join(lines)


PROTOCOLS = {"sampled": "sampled ranking", "full": "full ranking"}


def tables(
    metrics: pl.DataFrame,
    labels: dict[str, str],
    tests: pl.DataFrame,
    metric: str,
    reference: str = FULL,
    second: str | None = None,
    note: str = "",
) -> str:
    """Lay out one metric under both protocols, a table each, and a note below."""
    about = f"{metrics['dataset'][0]}, {BACKBONE_NAMES[metrics['backbone'][0]]}, {metrics['seed'].n_unique()} seeds"
    parts = [
        f"**{metric}, {title}: {about}**\n\n{table(metrics, labels, tests, protocol, metric, reference, second)}"
        for protocol, title in PROTOCOLS.items()
    ]
    return "\n\n".join([*parts, *([note] if note else [])])


def differences(tests: pl.DataFrame, labels: dict[str, str], against: str, metric: str) -> str:
    """Lay out how far each variant is from one of them, under both protocols: difference, 95 % interval, q.

    Args:
        tests: comparisons with that one, as `compare` gives them.
        labels: what each variant is called, in the order of the rows.
        against: the variant, or `full`, that the others are compared with.
        metric: e.g. `NDCG@10`.

    Returns:
        a Markdown table; ▲ marks what is significantly better, ▼ what is worse, – what is neither.
    """
    groups = {name: COLUMNS[name] for name in ("overall", "tail_item")}
    columns = [(protocol, group) for protocol in PROTOCOLS for group in groups]
    kept = tests.filter(against=against, metric=metric)
    found = {(row["method"], row["protocol"], row["group"]): row for row in kept.iter_rows(named=True)}
    titles = [f"{groups[group]}, {PROTOCOLS[protocol]}" for protocol, group in columns]
    lines = [f"| Minus {labels[against]} | {' | '.join(titles)} |", f"| --- |{' ---: |' * len(columns)}"]
    for method, label in labels.items():
        if any((method, *column) in found for column in columns):
            cells = [_difference(found.get((method, *column))) for column in columns]
            lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _difference(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    mark = "–" if not row["significant"] else "▲" if row["difference"] > 0 else "▼"
    return f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}], q = {row['q']:.3f} {mark}"


def speeds(texts_per_second: dict[str, float]) -> str:
    """Lay out what each variant's encoder costs: item prompts a second, the more the cheaper."""
    rows = [f"| {label} | {speed:,.0f} |" for label, speed in texts_per_second.items()]
    return "\n".join(["| Variant | Texts a second |", "| --- | ---: |", *rows])


def dots(metrics: pl.DataFrame, labels: dict[str, str], protocol: str, metric: str, reference: str = FULL) -> Figure:
    """Draw each variant as a dot, overall and on tail items; the bar is ± one standard deviation over seeds.

    The dashed line is the reference, by default LLM-ESR as it is.
    """
    kept = metrics.filter(protocol=protocol, metric=metric).with_columns(pl.col("method").replace(labels))
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        height = 1.2 + 0.42 * len(labels)
        figure, axes = plt.subplots(1, 2, figsize=(11, height), sharey=True, layout="constrained")
        for axis, (group, title) in zip(axes, (("overall", "Overall"), ("tail_item", "Tail items")), strict=True):
            rows = kept.filter(group=group)
            sns.pointplot(
                rows.to_pandas(), x="value", y="method", order=list(labels.values()), errorbar="sd",
                linestyle="none", color=ACCENT, err_kws={"linewidth": 1.4}, ax=axis,
            )  # fmt: skip
            axis.axvline(rows.filter(method=labels[reference])["value"].mean(), color=MARK, linestyle="--")
            axis.set(xlabel=f"{metric} ({protocol})", ylabel="", title=title)
            axis.locator_params(axis="x", nbins=6)  # more would touch each other
    return alone(figure)


def curves(metrics: pl.DataFrame, axes_of: dict[str, dict[str, float]], protocol: str, metric: str) -> Figure:
    """Draw the metric against a number that the variants change: a row of panels for each such number.

    Args:
        metrics: of the variants and of `full`.
        axes_of: the number's name → each variant's value of it.
        protocol: `sampled` or `full`.
        metric: e.g. `NDCG@10`.
    """
    kept = metrics.filter(protocol=protocol, metric=metric)
    groups = (("overall", "Overall"), ("tail_item", "Tail items"))
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, panels = plt.subplots(
            len(axes_of), 2, figsize=(11, 3.4 * len(axes_of)), squeeze=False, layout="constrained"
        )
        for row, (name, values) in zip(panels, axes_of.items(), strict=True):
            known = kept.filter(pl.col("method").is_in(list(values)))
            known = known.with_columns(pl.col("method").replace_strict(values, return_dtype=pl.Float64).alias("x"))
            for axis, (group, title) in zip(row, groups, strict=True):
                rows = known.filter(group=group).to_pandas()
                sns.lineplot(rows, x="x", y="value", errorbar="sd", err_style="bars", marker="o", color=ACCENT, ax=axis)
                axis.axvline(values[FULL], color=MARK, linestyle="--")
                axis.set(xscale="log", xlabel=name, ylabel=f"{metric} ({protocol})", title=title)
                axis.set_xticks(sorted(values.values()), [f"{value:g}" for value in sorted(values.values())])
                axis.minorticks_off()
    return alone(figure)
