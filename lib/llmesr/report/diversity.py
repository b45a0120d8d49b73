"""Tables and figures of lists: what they hold beside hits, what re-ranking trades for it, what exploration costs."""

import matplotlib.pyplot as plt
import polars as pl
import seaborn as sns
from matplotlib.figure import Figure

from llmesr.evaluate.references import UNTRAINED
from llmesr.report import BACKBONE_NAMES, METHOD_NAMES, dataset_name
from llmesr.report.plotting import PALETTE, alone

BETTER = {
    "semantic diversity": "↑",
    "category diversity": "↑",
    "miscalibration": "↓",
    "novelty": "↑",
    "serendipity": "↑",
    "popularity lift": "↓",
    "tail exposure": "↑",
    "coverage": "↑",
    "concentration": "↓",
}
"""Measures, and which way is usually wished for."""
RERANKER_NAMES = {"mmr": "MMR", "dpp": "DPP", "calibrated": "calibrated", "less_popular": "popularity penalty"}
POLICY_NAMES = {"greedy": "greedy", "epsilon": "ε-greedy", "ucb": "UCB"}


def heading(found: pl.DataFrame) -> str:
    """Say what is shown: dataset, backbone, seeds."""
    trained = found.filter(pl.col("backbone") != UNTRAINED)
    backbones = [BACKBONE_NAMES[name] for name in trained["backbone"].unique(maintain_order=True)]
    seeds = trained["seed"].n_unique()
    return f"{found['dataset'][0]}, {', '.join(backbones)}, {seeds} seed{'s' * (seeds != 1)}"


def table(found: pl.DataFrame, group: str = "overall") -> str:
    """Lay out what the lists of every method hold, a row a method, means over seeds.

    Args:
        found: the frame of `diversity.csv`.
        group: `overall`, `tail_user` or `head_user`.
    """
    accuracy, measures = _measures(found)
    kept = found.filter(reranker="none", group=group)
    means = kept.group_by("method", "metric", maintain_order=True).agg(pl.col("value").mean())
    value = {(method, metric): mean for method, metric, mean in means.iter_rows()}
    heads = [accuracy, *(f"{name.capitalize()} {BETTER[name]}" for name in measures)]
    lines = [f"| Method | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
    for method in kept["method"].unique(maintain_order=True):
        cells = [f"{value[method, name]:.3f}" for name in (accuracy, *measures)]
        lines.append(f"| {METHOD_NAMES[method]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _measures(found: pl.DataFrame) -> tuple[str, list[str]]:
    """Say what accuracy is called, and which measures there are: without categories not all."""
    there = set(found["metric"])
    return next(name for name in there if name.startswith("NDCG")), [name for name in BETTER if name in there]


def means_of(found: pl.DataFrame) -> pl.DataFrame:
    """Average over seeds, a column a metric: `method, reranker, trade, …`."""
    kept = found.filter(group="overall")
    means = kept.group_by("method", "reranker", "trade", "metric", maintain_order=True).agg(pl.col("value").mean())
    return means.pivot("metric", index=["method", "reranker", "trade"], values="value")


def front(frame: pl.DataFrame, accuracy: str, other: str, *, least: bool) -> pl.Series:
    """Tell which rows are on the Pareto front of two columns: none is as good in both and better in one.

    Args:
        frame: a row a variant.
        accuracy: a column of which more is better.
        other: the other column.
        least: whether less of it is better.
    """
    sign = -1 if least else 1
    points = list(zip(frame[accuracy], [sign * value for value in frame[other]], strict=True))
    return pl.Series(
        [not any(a >= x and b >= y and (a > x or b > y) for a, b in points) for x, y in points], dtype=pl.Boolean
    )


def tradeoffs_table(found: pl.DataFrame, method: str, measures: tuple[str, ...]) -> str:
    """Lay out what re-ranking makes of one method's lists, a row a re-ranker and weight; the front is marked."""
    frame = means_of(found).filter(method=method)
    accuracy, there = _measures(found)
    measures = tuple(name for name in measures if name in there)
    marks = {name: front(frame, accuracy, name, least=BETTER[name] == "↓") for name in measures}
    heads = [accuracy, *(f"{name.capitalize()} {BETTER[name]}" for name in measures)]
    lines = [f"| Re-ranking | λ | {' | '.join(heads)} |", "| --- | ---: |" + " ---: |" * len(heads)]
    for number, row in enumerate(frame.iter_rows(named=True)):
        cells = [f"{row[accuracy]:.3f}", *(f"{row[name]:.3f}{'*' * marks[name][number]}" for name in measures)]
        name, trade = RERANKER_NAMES.get(row["reranker"], "–"), "" if row["reranker"] == "none" else f"{row['trade']:g}"
        lines.append(f"| {name} | {trade} | {' | '.join(cells)} |")
    return "\n".join(lines)


def profile(found: pl.DataFrame) -> Figure:
    """Draw each measure in a panel of its own, a dot a method; bars are ± one standard deviation over seeds."""
    kept = found.filter(reranker="none", group="overall").with_columns(pl.col("method").replace(METHOD_NAMES))
    order = kept["method"].unique(maintain_order=True).to_list()
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        measures = _measures(found)[1]
        figure, axes = plt.subplots(-(-len(measures) // 3), 3, figsize=(13, 9), sharey=True, layout="constrained")
        for axis in axes.flat[len(measures) :]:
            axis.set_visible(False)
        for axis, name in zip(axes.flat, measures, strict=False):
            sns.pointplot(
                kept.filter(metric=name).to_pandas(), x="value", y="method", hue="method", order=order, hue_order=order,
                errorbar="sd", linestyle="none", palette=_colours(order), legend=False, ax=axis,
            )  # fmt: skip
            axis.set(xlabel="", ylabel="", title=f"{name.capitalize()} {BETTER[name]}")
        figure.suptitle(f"What lists hold: {heading(found)}; bars ± one standard deviation over seeds")
    return alone(figure)


def _colours(methods: list[str]) -> dict[str, str]:
    return {method: PALETTE.get(method, "#b9c4ce") for method in methods}


def tradeoffs(found: pl.DataFrame, methods: tuple[str, ...], measures: tuple[str, ...]) -> Figure:
    """Draw accuracy against each measure: a row a method, a line a re-ranker, a ring around what is on the front."""
    frame = means_of(found)
    accuracy, there = _measures(found)
    measures = tuple(name for name in measures if name in there)
    methods = tuple(name for name in methods if name in set(frame["method"]))
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, axes = plt.subplots(
            len(methods),
            len(measures),
            figsize=(4.3 * len(measures), 3.9 * len(methods)),
            squeeze=False,
            layout="constrained",
        )
        for row, method in zip(axes, methods, strict=True):
            own = frame.filter(method=method)
            for axis, name in zip(row, measures, strict=True):
                _one_tradeoff(axis, own, accuracy, name)
                axis.set(xlabel=f"{name.capitalize()} {BETTER[name]}", ylabel=accuracy, title=METHOD_NAMES[method])
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncol=len(labels), frameon=False)
        figure.suptitle(f"What re-ranking trades, {heading(found)}, means over seeds")
    return alone(figure)


def _one_tradeoff(axis: plt.Axes, own: pl.DataFrame, accuracy: str, name: str) -> None:
    as_it_is = own.filter(reranker="none")
    for (reranker, label), colour in zip(RERANKER_NAMES.items(), sns.color_palette("colorblind"), strict=False):
        line = pl.concat([as_it_is, own.filter(reranker=reranker)])
        axis.plot(line[name], line[accuracy], marker="o", markersize=4, color=colour, label=label)
    best = own.filter(front(own, accuracy, name, least=BETTER[name] == "↓"))
    axis.plot(best[name], best[accuracy], "o", markersize=10, fillstyle="none", color="#444444", label="on the front")
    axis.locator_params(axis="x", nbins=5)  # more of them would run into each other
    axis.plot(as_it_is[name], as_it_is[accuracy], "s", markersize=7, color="#2b2b2b", label="as it is")


def exploration(found: pl.DataFrame) -> Figure:
    """Draw regret, relative to that of greedy, and coverage over visits, a line a policy: mean over seeds.

    The band is ± one standard deviation.

    Args:
        found: the frame of `exploration.csv`.
    """
    greedy = found.filter(policy="greedy").group_by("round").agg(pl.mean("regret").alias("greedy"))
    kept = found.join(greedy, on="round", how="left").with_columns(
        pl.col("policy").replace(POLICY_NAMES), (pl.col("regret") / pl.col("greedy")).alias("relative")
    )
    panels = (("relative", "regret so far / that of greedy"), ("coverage", "share of the catalogue shown"))
    options = {"hue": "policy", "errorbar": "sd", "palette": "colorblind"}
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
        for axis, (column, label) in zip(axes, panels, strict=True):
            sns.lineplot(kept.to_pandas(), x="round", y=column, legend=axis is axes[0], ax=axis, **options)
            axis.set(xscale="log", ylim=(0, None), xlabel="visits (log scale)", ylabel=label)
        axes[0].legend(title="", frameon=False)
        figure.suptitle(
            f"What exploring costs and finds: {dataset_name(found['dataset'][0])}, simulated, "
            f"{found['seed'].n_unique()} seeds\n"
            "mean over seeds, bands ± one standard deviation",
            fontsize="medium",
        )
    return alone(figure)


def audit(found: pl.DataFrame, dataset: str, labels: dict[str, str]) -> str:
    """Lay out an audit, a table an attribute; a sentence if the dataset has no user attributes.

    Args:
        found: the frame of `audit.csv`.
        dataset: its name.
        labels: what variants of the study are called.
    """
    if found.is_empty():
        return f"'datasets.{dataset}.user_attributes' names no attribute of users, so there is nothing to audit."
    text = [
        f"Audit on validation, full ranking, {heading(found)}: mean ± standard deviation over seeds. "
        "The gap is between the best and the worst served group. Leakage is the AUC of a logistic regression that "
        "guesses the group from users' states (popularity: from item vectors); 0.5 is chance."
    ]
    for attribute in found["attribute"].unique(maintain_order=True):
        text.append(f"**{attribute}**\n\n{audit_table(found, attribute, labels)}")
    return "\n\n".join(text)


def audit_table(found: pl.DataFrame, attribute: str, labels: dict[str, str]) -> str:
    """Lay out an audit by one attribute, a row a method: NDCG@10 of each group, the gap, and the leakage.

    Args:
        found: the frame of `audit.csv`.
        attribute: one of its attributes.
        labels: what variants of the study are called.
    """
    kept, names = found.filter(attribute=attribute), {**METHOD_NAMES, **AUDITED, **labels}
    means = kept.group_by("method", "group", "metric", maintain_order=True).agg(
        pl.col("value").mean().alias("mean"), pl.col("value").std().fill_null(0.0).alias("std")
    )
    value = {(method, group, metric): (mean, std) for method, group, metric, mean, std in means.iter_rows()}
    groups = kept.filter(metric="NDCG@10")["group"].unique().sort().to_list()
    columns = [(name, "NDCG@10") for name in groups] + [("all", "gap"), ("all", "leakage")]
    heads = [f"NDCG@10, {name}" for name in groups] + ["Gap ↓", "Leakage (AUC) ↓"]
    lines = [f"| Method | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
    for method in kept["method"].unique(maintain_order=True):
        cells = []
        for column in columns:
            mean, std = value.get((method, *column), (None, None))
            cells.append("–" if mean is None else f"{mean:.3f}" + (f" ± {std:.3f}" if std else ""))
        lines.append(f"| {names[method]} | {' | '.join(cells)} |")
    return "\n".join(lines)


AUDITED = {"history": "History itself", "user_text": "LLM embedding of the history"}
"""Rows of an audit that are no method."""
