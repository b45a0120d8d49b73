"""The published numbers beside ours: values where the dataset is the same, gains over the backbone alone elsewhere."""

import matplotlib.pyplot as plt
import polars as pl
import seaborn as sns
from matplotlib.figure import Figure

from llmesr.paths import results
from llmesr.report import BACKBONE_NAMES, METHOD_NAMES, dataset_name
from llmesr.report.plotting import PALETTE, alone
from llmesr.report.published import load
from llmesr.report.tables import over_seeds

PAPER = "Liu et al. 2024"
RUN = ("dataset", "backbone", "method")
LOSS_NAMES = {"bce": "one negative", "cross_entropy": "cross-entropy"}
NAMES = {**METHOD_NAMES, "rlmrec": "RLMRec"}


def published() -> pl.DataFrame:
    """Load what was published: `results/published.csv`; `verified` tells whether the figure could be checked."""
    return pl.read_csv(results("published.csv"))


def gains(metrics: pl.DataFrame, metric: str, groups: tuple[str, ...] = ("overall", "tail_item")) -> pl.DataFrame:
    """Compute every method's gain over the backbone alone, means over seeds, in the sampled ranking.

    Args:
        metrics: `dataset, backbone, method, protocol, group, metric, value`, and for published ones `verified`.
        metric: e.g. `NDCG@10`.
        groups: of which the gain is asked.

    Returns:
        `dataset, backbone, method, group, value, plain, gain, sure`; gain is value / plain - 1, and sure if both are
        ours or could be verified.
    """
    known = pl.col("group").is_in(groups) & pl.col("method").is_in(list(NAMES))  # no variants of a study
    kept = metrics.filter(known, protocol="sampled", metric=metric)
    keys = ["dataset", "backbone", "group"]
    if "verified" not in kept.columns:
        kept = kept.with_columns(verified=pl.lit("yes"))
    mean = [pl.col("value").mean(), (pl.col("verified") == "yes").all().alias("sure")]
    means = kept.group_by([*keys, "method"], maintain_order=True).agg(mean)
    plain = means.filter(method="base").select(*keys, plain="value", plain_sure="sure")
    found = means.filter(pl.col("method") != "base").join(plain, on=keys, how="inner", maintain_order="left")
    gain = (pl.col("value") / pl.col("plain") - 1).alias("gain")
    return found.with_columns(gain, pl.col("sure") & pl.col("plain_sure")).drop("plain_sure")


def table(theirs: pl.DataFrame, ours: pl.DataFrame) -> str:
    """Lay out gains side by side, a row a source, dataset, backbone and method; in parentheses what is not sure."""
    lines = [
        "| Source | Dataset | Backbone | Method | Overall | Tail item |",
        "| --- | --- | --- | --- | ---: | ---: |",
    ]
    for source, frame in ((PAPER, theirs), ("here", ours)):
        gains = {
            tuple(run): found for *run, found in frame.select(*RUN, "group", pl.struct("gain", "sure")).iter_rows()
        }
        for dataset, backbone, method in dict.fromkeys(run[:3] for run in gains):
            found = [gains.get((dataset, backbone, method, group)) for group in ("overall", "tail_item")]
            cells = ["–" if one is None else _gain(**one) for one in found]
            names = f"{source} | {dataset} | {BACKBONE_NAMES.get(backbone, backbone)} | {NAMES[method]}"
            lines.append(f"| {names} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _gain(gain: float, sure: bool) -> str:
    return f"{gain:+.1%}" if sure else f"({gain:+.1%})"


def side_by_side(metrics: pl.DataFrame, metric: str) -> str:
    """Lay out published values and ours, where the dataset is one of the paper's: a row a backbone, method and group.

    Args:
        metrics: ours, of one dataset; its name is that of the paper's in lower case (`yelp`, `fashion`, `beauty`).
        metric: e.g. `NDCG@10`.

    Returns:
        the table, or a sentence if the paper has no row of the dataset.
    """
    name = metrics["dataset"][0]
    theirs = published().filter(source=PAPER, dataset=name, protocol="sampled", metric=metric)
    ours = over_seeds(metrics, "sampled", metric)
    both = theirs.join(ours, on=["backbone", "method", "group"], how="inner", maintain_order="left")
    if both.is_empty():
        return f"The paper has no row of {name}: only gains can be compared."
    lines = ["| Backbone | Method | Group | Published | Here |", "| --- | --- | --- | ---: | ---: |"]
    for row in both.iter_rows(named=True):
        names = f"{BACKBONE_NAMES[row['backbone']]} | {NAMES[row['method']]} | {row['group'].replace('_', ' ')}"
        value = f"{row['value']:.4f}" if row["verified"] == "yes" else f"({row['value']:.4f})"
        spread = f" ± {row['std']:.4f}" if row["seeds"] > 1 else ""
        lines.append(f"| {names} | {value} | {row['mean']:.4f}{spread} |")
    return "\n".join(lines)


FIDELITY = {"yelp": "paper-yelp", "fashion": "paper-fashion"}
"""The paper's name of a dataset, and that of the authors' own interactions here."""
VARIANTS = ("ours", "as the authors' code")


def own_interactions(metric: str) -> str:
    """Lay out published values and ours on the paper's own interactions, a row a backbone, method and group.

    `python -m benchmarks.fidelity` measures ours. LLM-ESR needs texts, which were not released, so its row has the
    published value alone.

    Args:
        metric: e.g. `NDCG@10`.
    """
    lines = [
        "| Dataset | Backbone | Method | Group | Published | Here | Here, as the authors' code |",
        "| --- | --- | --- | --- | ---: | ---: | ---: |",
    ]
    for dataset, name in FIDELITY.items():
        theirs = published().filter(source=PAPER, dataset=dataset, protocol="sampled", metric=metric)
        ours = load(name, "metrics", "fidelity", "python -m benchmarks.fidelity")
        ours = ours.filter(protocol="sampled", metric=metric)
        means = ours.group_by("variant", *RUN[1:], "group").agg(pl.mean("value"))
        found = {tuple(key): value for *key, value in means.iter_rows()}
        for backbone, method, group, value, verified in theirs.select(
            "backbone", "method", "group", "value", "verified"
        ).iter_rows():
            measured = [found.get((variant, backbone, method, group)) for variant in VARIANTS]
            if group in ("overall", "tail_item", "tail_user") and (method == "llmesr" or any(measured)):
                cells = ["–" if one is None else f"{one:.4f}" for one in measured]
                said = f"{value:.4f}" if verified == "yes" else f"({value:.4f})"
                names = f"{dataset} | {BACKBONE_NAMES[backbone]} | {NAMES[method]} | {group.replace('_', ' ')}"
                lines.append(f"| {names} | {said} | {' | '.join(cells)} |")
    return "\n".join(lines)


def independent(dataset: str, metric: str) -> str:
    """Lay out our SASRec beside that of RecTools, on one dataset: mean ± standard deviation over seeds.

    `python -m benchmarks.rectools` measures both.

    Args:
        dataset: e.g. `complete-journey`.
        metric: e.g. `NDCG@10`.
    """
    measured = load(dataset, "rectools", "fidelity", "python -m benchmarks.rectools").filter(metric=metric)
    keys = ["loss", "system", "protocol", "group"]
    spread = measured.group_by(keys).agg(mean=pl.mean("value"), std=pl.std("value"))
    found = {tuple(key): f"{mean:.4f} ± {std or 0:.4f}" for *key, mean, std in spread.iter_rows()}
    columns = [(protocol, group) for protocol in ("sampled", "full") for group in ("overall", "tail_item")]
    titles = [f"{protocol}, {group.replace('_', ' ')}" for protocol, group in columns]
    lines = [f"| Loss | SASRec of | {' | '.join(titles)} |", f"| --- | --- |{' ---: |' * len(columns)}"]
    for loss, system in measured.select("loss", "system").unique(maintain_order=True).iter_rows():
        cells = [found[loss, system, protocol, group] for protocol, group in columns]
        lines.append(f"| {LOSS_NAMES[loss]} | {system} | {' | '.join(cells)} |")
    return "\n".join(lines)


def dumbbells(theirs: pl.DataFrame, ours: pl.DataFrame, method: str, metric: str) -> Figure:
    """Draw a method and the backbone alone, joined by a line: a row a dataset and backbone, the paper's and ours.

    Args:
        theirs: published values; pale where one of the two could not be verified.
        ours: the frame of `metrics.csv`.
        method: at one end of the line.
        metric: e.g. `NDCG@10`, in the sampled ranking.
    """
    columns = ["source", *RUN, "group", "value", "verified"]
    here = ours.with_columns(source=pl.lit("here"), verified=pl.lit("yes"))
    both = pl.concat(
        frame.filter(protocol="sampled", metric=metric).select(columns)
        for frame in (theirs.with_columns(source=pl.lit("paper")), here)
    )
    kept = both.filter(pl.col("method").is_in(["base", method]))
    keys = ["source", "dataset", "backbone", "group"]
    means = kept.group_by([*keys, "method"], maintain_order=True).agg(
        pl.mean("value"), (pl.col("verified") == "yes").all().alias("sure")
    )
    ends = means.pivot("method", index=keys, values=["value", "sure"]).drop_nulls()
    names = dict.fromkeys(ends.select("source", "dataset", "backbone").iter_rows())
    places = {name: len(names) - 1 - place for place, name in enumerate(names)}
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, axes = plt.subplots(1, 2, figsize=(11, 1.6 + 0.42 * len(names)), sharey=True, layout="constrained")
        for axis, (group, title) in zip(axes, (("overall", "Overall"), ("tail_item", "Tail items")), strict=True):
            for row in ends.filter(group=group).to_dicts():
                y = places[row["source"], row["dataset"], row["backbone"]]
                plain, value = row["value_base"], row[f"value_{method}"]
                alpha = 1.0 if row["sure_base"] and row[f"sure_{method}"] else 0.35
                axis.plot([plain, value], [y, y], color="black", linewidth=1.5, alpha=alpha, zorder=1)
                for x, name in ((plain, METHOD_NAMES["base"]), (value, METHOD_NAMES[method])):
                    axis.plot(x, y, "o", color=PALETTE[name], markersize=9, alpha=alpha)
            axis.set(title=title, xlabel=f"{metric}, sampled ranking")
            axis.set_yticks(
                list(places.values()),
                [f"{source}: {dataset_name(data)}, {BACKBONE_NAMES[backbone]}" for source, data, backbone in places],
            )
        titles = [METHOD_NAMES[one] for one in ("base", method)]
        dots = [plt.Line2D([], [], marker="o", linestyle="", color=PALETTE[title]) for title in titles]
        figure.legend(dots, titles, loc="outside lower center", ncol=2, frameon=False)
        figure.suptitle(f"From the backbone alone to {METHOD_NAMES[method]}; pale: not verified")
    return alone(figure)


def ablation(metrics: pl.DataFrame, labels: dict[str, str], metric: str) -> str:
    """Lay out the ablation, overall in the sampled ranking: as published, as reproduced by others, and ours.

    Args:
        metrics: ours, of `full` and its variants.
        labels: what each variant is called.
        metric: e.g. `NDCG@10`.
    """
    theirs = published().filter(backbone="sasrec", dataset="yelp", group="overall", metric=metric)
    theirs = theirs.with_columns(pl.col("method").replace("llmesr", "full"))
    sources = theirs["source"].unique(maintain_order=True).to_list()
    ours = metrics.filter(group="overall", protocol="sampled", metric=metric)
    lines = [f"| Variant | {' | '.join(f'{source} (Yelp)' for source in sources)} | here |"]
    lines.append(f"| --- |{' ---: |' * (len(sources) + 1)}")
    for method, label in labels.items():
        found = [theirs.filter(source=source, method=method)["value"] for source in sources]
        cells = [f"{value[0]:.4f}" if len(value) else "–" for value in found]
        lines.append(f"| {label} | {' | '.join(cells)} | {ours.filter(method=method)['value'].mean():.4f} |")
    return "\n".join(lines)
