"""Write README's tables anew from `results/`: `python -m llmesr.report.readme`."""

import json
import re

import polars as pl

from llmesr import published
from llmesr.errors import InputError
from llmesr.paths import ROOT, replacing, results
from llmesr.report import BACKBONE_NAMES, METHOD_NAMES, diversity, tables

DATASETS = {"complete-journey": "Complete Journey", "movielens-100k": "MovieLens-100K"}
STUDIES = {
    "complete-journey": ("ablation", "hyperparameters", "similarity", "language", "stronger"),
}
BENCHMARKS = {
    "epoch_seconds": "an epoch",
    "evaluation_seconds": "full ranking",
    "texts_per_second": "texts a second",
    "seconds": "all similar users",
    "users_per_second": "users a second",
}
"""What of `benchmarks.csv` is shown, and what to call it."""
CARD = {
    "users": "Users",
    "items": "Items",
    "interactions": "Interactions",
    "average_length": "Average length",
    "users_under_10": "Users under 10",
    "items_under_10": "Items under 10",
}


def dataset_table() -> str:
    """Lay out the dataset cards, a row a dataset."""
    lines = [f"| Dataset | {' | '.join(CARD.values())} |", f"| --- |{' ---: |' * len(CARD)}"]
    for name, title in DATASETS.items():
        card = json.loads((results(name) / "card.json").read_text(encoding="utf-8"))
        cells = [f"{card[key]:.0%}" if "under" in key else f"{card[key]:,}" for key in CARD]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def authors_table() -> str:
    """Lay out LLM-ESR on SASRec beside what the authors' own code reached on the same data, HR@10 / NDCG@10."""
    rows = pl.read_csv(results("office-products") / "authors.csv")
    values = {tuple(key): value for *key, value in rows.iter_rows()}
    sources = rows["source"].unique(maintain_order=True).to_list()
    lines = [f"| Protocol | Group | {' | '.join(sources)} |", "| --- | --- | ---: | ---: |"]
    for protocol, group in rows.select("protocol", "group").unique(maintain_order=True).iter_rows():
        cells = [
            " / ".join(f"{values[source, protocol, group, metric]:.4f}" for metric in ("HR@10", "NDCG@10"))
            for source in sources
        ]
        lines.append(f"| {protocol} | {group} | {' | '.join(cells)} |")
    return "\n".join(lines)


def choices_table() -> str:
    """Lay out what the defaults were chosen by, measured on validation: single runs, or the mean of several seeds."""
    wide = pl.read_csv(results("choices.csv")).pivot(
        "group", index=["dataset", "backbone", "method", "changed"], values="value", aggregate_function="mean"
    )
    lines = [
        "| Dataset | Backbone | Method | Changed | Overall | Tail item |",
        "| --- | --- | --- | --- | ---: | ---: |",
    ]
    for dataset, backbone, method, changed, whole, tail in wide.iter_rows():
        names = f"{dataset} | {BACKBONE_NAMES[backbone]} | {METHOD_NAMES[method]} | {changed or '–'}"
        lines.append(f"| {names} | {whole:.4f} | {tail:.4f} |")
    return "\n".join(lines)


def benchmarks_table(name: str) -> str:
    """Lay out our times beside the others', a row a comparison: the median of the ratios within a repeat."""
    kept = pl.read_csv(results(name) / "benchmarks.csv").filter(pl.col("what").is_in(list(BENCHMARKS)))
    ours = kept.filter(pl.col("times_ours").is_null()).select("room", "subject", "what", mine="value")
    paired = kept.filter(pl.col("times_ours").is_not_null()).join(ours, on=["room", "subject", "what"])
    lines = ["| | Ours | Beside it | | × ours |", "| --- | ---: | --- | ---: | ---: |"]
    for row in paired.iter_rows(named=True):
        about = f"{row['subject']}: {BENCHMARKS[row['what']]}"
        lines.append(
            f"| {about} | {row['mine']:.3g} | {row['system']} | {row['value']:.3g} | {row['times_ours']:.3g} |"
        )
    return "\n".join(lines)


def short_table(name: str, backbone: str) -> str:
    """Lay out NDCG@10 of one backbone's methods, means over seeds, under both protocols."""
    kept = published.load(name).filter(backbone=backbone, metric="NDCG@10")
    means = kept.group_by("method", "protocol", "group", maintain_order=True).agg(pl.col("value").mean())
    value = {(method, protocol, group): mean for method, protocol, group, mean in means.iter_rows()}
    columns = [(protocol, group) for protocol in ("sampled100", "full") for group in ("overall", "tail_item")]
    heads = [f"{group.replace('_', ' ').capitalize()}, {protocol}" for protocol, group in columns]
    lines = [f"| {BACKBONE_NAMES[backbone]} | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
    for method in kept["method"].unique(maintain_order=True):
        cells = " | ".join(f"{value[method, protocol, group]:.4f}" for protocol, group in columns)
        lines.append(f"| {METHOD_NAMES[method]} | {cells} |")
    return "\n".join(lines)


def blocks() -> dict[str, str]:
    """Give the content of every marked block of README."""
    content = {"datasets": dataset_table(), "choices": choices_table(), "authors": authors_table()}
    for name in DATASETS:
        metrics = published.load(name)
        tests = published.load(name, "significance")
        for protocol in ("sampled100", "full"):
            content[f"{name} {protocol}"] = tables.overall(metrics, protocol, "NDCG@10", tests)
    first = next(iter(DATASETS))
    for name, studies in STUDIES.items():
        for study in studies:
            content[f"{name} {study}"] = (results(name) / f"{study}.md").read_text(encoding="utf-8").strip()
    content["office-products short"] = short_table("office-products", "sasrec")
    content["movielens-100k diversity"] = diversity.table(pl.read_csv(results("movielens-100k") / "diversity.csv"))
    content["benchmarks"] = benchmarks_table(first)
    content["debias"] = (results(first) / "debias.md").read_text(encoding="utf-8").strip()
    audited = pl.read_csv(results("movielens-100k") / "audit.csv")
    content["audit"] = diversity.audit_table(audited, "gender", {"dualmatch-adv-user": "DualMatch, rival on gender"})
    content["cold"] = (results(first) / "cold.md").read_text(encoding="utf-8").strip()
    content["diversity"] = diversity.table(pl.read_csv(results(first) / "diversity.csv"))
    for name, table in (("ml-latest-small", "ugc"), ("movielens-100k", "fusion"), ("movielens-100k", "missing")):
        content[table] = (results(name) / f"{table}.md").read_text(encoding="utf-8").strip()
    content["costs"] = tables.costs(published.load(first, "timings"), published.load(first))
    return content


def filled(text: str) -> str:
    """Put the blocks between their marks `<!-- results: NAME -->` and `<!-- end -->`.

    Raises:
        InputError: a mark is missing.
    """
    for name, content in blocks().items():
        mark = f"<!-- results: {name} -->"
        text, count = re.subn(f"{mark}.*?<!-- end -->", f"{mark}\n{content}\n<!-- end -->", text, flags=re.DOTALL)
        if not count:
            raise InputError(f"README.md lacks the mark '{mark}': add it, and '<!-- end -->' behind it")
    return text


if __name__ == "__main__":
    file = ROOT / "README.md"
    new = filled(file.read_text(encoding="utf-8"))
    with replacing(file) as temporary:
        temporary.write_text(new, encoding="utf-8")
