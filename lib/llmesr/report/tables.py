"""Tables as Markdown: mean ± standard deviation over seeds, the best in bold."""

import polars as pl

from llmesr.evaluate.references import UNTRAINED
from llmesr.report import BACKBONE_NAMES, METHOD_NAMES, dataset_name

GROUPS = {
    "overall": "Overall",
    "tail_item": "Tail item",
    "head_item": "Head item",
    "tail_user": "Tail user",
    "head_user": "Head user",
}

PUBLISHED = (("sampled", "NDCG@10"), ("sampled", "HR@10"), ("full", "NDCG@10"), ("full", "HR@10"))
"""Protocol and metric of the tables in `results/<dataset>/overall/table.md`."""


def over_seeds(metrics: pl.DataFrame, protocol: str, metric: str) -> pl.DataFrame:
    """Average over seeds: `backbone, method, group, mean, std, seeds`, in the order of the file."""
    kept = metrics.filter((pl.col("protocol") == protocol) & (pl.col("metric") == metric))
    return kept.group_by(["backbone", "method", "group"], maintain_order=True).agg(
        pl.col("value").mean().alias("mean"),
        pl.col("value").std().fill_null(0.0).alias("std"),
        pl.len().alias("seeds"),
    )


FLAG, SECOND_FLAG = "†", "‡"
"""Mark significant differences: from the backbone alone or whatever a table compares with; from another one."""


def overall(metrics: pl.DataFrame, protocol: str, metric: str, tests: pl.DataFrame | None = None) -> str:
    """Lay out one metric by group, a row a run without its seed.

    Within a backbone the best mean of each column is bold; the last column is the gain of the overall mean over
    the backbone alone.

    Args:
        metrics: the frame of `metrics.csv`.
        protocol: `sampled` or `full`.
        metric: e.g. `NDCG@10`.
        tests: the frame of `significance.csv`; a dagger marks a significant difference from the backbone alone.

    Returns:
        a Markdown table.
    """
    means = over_seeds(metrics, protocol, metric)
    flagged = set()
    if tests is not None:
        sure = tests.filter("significant", protocol=protocol, metric=metric, against="base")
        flagged = set(sure.select("backbone", "method", "group").iter_rows())
    lines = [
        f"| Backbone | Method | {' | '.join(GROUPS.values())} | Gain |",
        f"| --- | --- | {' | '.join(['---:'] * (len(GROUPS) + 1))} |",
    ]
    for backbone in means["backbone"].unique(maintain_order=True):
        rows = means.filter(pl.col("backbone") == backbone)
        best = dict(rows.group_by("group").agg(pl.col("mean").max()).iter_rows())
        plain = _value(rows, "base", "overall")
        for method in rows["method"].unique(maintain_order=True):
            cells = [
                _cell(rows, method, group, best.get(group)) + FLAG * ((backbone, method, group) in flagged)
                for group in GROUPS
            ]
            gain = "" if not plain or method == "base" else f"{_value(rows, method, 'overall') / plain - 1:+.1%}"
            names = f"{BACKBONE_NAMES.get(backbone, backbone)} | {METHOD_NAMES.get(method, method)}"
            lines.append(f"| {names} | {' | '.join(cells)} | {gain} |")
    return "\n".join(lines)


def published(metrics: pl.DataFrame, tests: pl.DataFrame, timings: pl.DataFrame) -> str:
    """Lay out all of `PUBLISHED`, each under its name: the text of `results/<dataset>/overall/table.md`."""
    seeds = metrics.filter(pl.col("backbone") != UNTRAINED)["seed"].n_unique()
    head = (
        f"{dataset_name(metrics['dataset'][0])}, {seeds} seed{'s' * (seeds > 1)}: mean ± standard deviation over "
        "seeds. The best of each backbone is bold. The gain is that of the overall mean over the backbone alone.\n"
    )
    parts = [
        f"**{metric}, {protocol}**\n\n{overall(metrics, protocol, metric, tests)}\n" for protocol, metric in PUBLISHED
    ]
    notes = [f"{FLAG} differs from the backbone alone: paired t-test over users, q < 0.05\n", unfinished(timings)]
    return "\n".join([head, *parts, *filter(None, notes)])


def unfinished(timings: pl.DataFrame) -> str:
    """Say how many runs were best in their very last epoch, and may have become better; nothing if none was."""
    epochs = timings.filter(pl.col("what").is_in(["epochs", "best_epoch"]))
    runs = epochs.pivot("what", index=["backbone", "method", "seed"], values="value")
    last = runs.filter(pl.col("best_epoch") == pl.col("epochs")).height if runs.height else 0
    return (
        f"{last} of {runs.height} runs were still improving when they stopped: raise `train.epochs`\n" if last else ""
    )


def costs(timings: pl.DataFrame, metrics: pl.DataFrame) -> str:
    """Lay out what training and inference cost: the median over seeds of each figure.

    Inference is what the evaluation took, which encodes every user once and ranks all items, a user.
    """
    what = ["epochs", "seconds_per_epoch", "train_seconds", "ms_per_user", "peak_rss_mb", "parameters"]
    users = metrics.filter(metric="users", group="overall")["value"].max()
    judged = timings.filter(what="evaluate_seconds")
    judged = judged.with_columns(pl.lit("ms_per_user").alias("what"), pl.col("value") / users * 1000)
    timings = pl.concat([timings, judged])
    medians = timings.group_by(["backbone", "method", "what"], maintain_order=True).agg(pl.col("value").median())
    lines = [
        "| Backbone | Method | Epochs | s / epoch | Training s | ms / user | Peak MB | Parameters |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for backbone, method in medians.select("backbone", "method").unique(maintain_order=True).iter_rows():
        rows = medians.filter((pl.col("backbone") == backbone) & (pl.col("method") == method))
        values = dict(rows.select("what", "value").iter_rows())
        cells = [f"{values[name]:,.{2 * (name in DECIMALS)}f}" if name in values else "–" for name in what]
        lines.append(
            f"| {BACKBONE_NAMES.get(backbone, backbone)} | {METHOD_NAMES.get(method, method)} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


DECIMALS = {"seconds_per_epoch", "ms_per_user"}


def _value(rows: pl.DataFrame, method: str, group: str) -> float | None:
    found = rows.filter((pl.col("method") == method) & (pl.col("group") == group))["mean"]
    return found[0] if len(found) else None


def _cell(rows: pl.DataFrame, method: str, group: str, best: float | None) -> str:
    """Write mean ± std with four decimals; a group without any test case is a dash."""
    found = rows.filter((pl.col("method") == method) & (pl.col("group") == group))
    if found.is_empty():
        return "–"
    text = f"{found['mean'][0]:.4f}"
    text = f"**{text}**" if found["mean"][0] == best else text
    return f"{text} ± {found['std'][0]:.4f}" if found["seeds"][0] > 1 else text
