"""Write the tables of README.md and results/README.md anew from `results/`: `python -m llmesr.report.readme`."""

import json
import re

import polars as pl

from llmesr import published
from llmesr.errors import InputError
from llmesr.paths import ROOT, replacing, results
from llmesr.published import UNTRAINED
from llmesr.report import BACKBONE_NAMES, METHOD_NAMES, diversity, paper, tables

DATASETS = {"complete-journey": "Complete Journey", "movielens-100k": "MovieLens-100K"}
PAGES = (ROOT / "README.md", ROOT / "results" / "README.md")
"""The short version, and the one with every table."""
SHORT = {"sampled100": "of 100", "full": "of all"}
"""Protocols of the short tables, and what to call them."""
STUDIES = {
    "complete-journey": ("ablation", "hyperparameters", "similarity", "language", "stronger"),
    "movielens-100k": ("ablation", "hyperparameters", "similarity", "language", "stronger"),
    "office-products": ("stronger",),
}
"""Studies whose tables are shown, of each dataset."""
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


def short_table(name: str) -> str:
    """Lay out NDCG@10 overall / on tail items, means over seeds, a row a method, a column a protocol and backbone."""
    kept = published.load(name).filter(metric="NDCG@10")
    means = {
        tuple(key): mean
        for *key, mean in kept.group_by("backbone", "method", "protocol", "group").agg(pl.mean("value")).iter_rows()
    }
    methods = kept["method"].unique(maintain_order=True).to_list()
    backbones = [one for one in kept["backbone"].unique(maintain_order=True) if one != UNTRAINED]
    heads, rows = [], {method: f"| {METHOD_NAMES[method]} |" for method in methods}
    for protocol, called in SHORT.items():
        for backbone in backbones:
            heads.append(f"{BACKBONE_NAMES[backbone]}, {called}")
            for method, cell in _overall_and_tail(means, methods, backbone, protocol).items():
                rows[method] += f" {cell} |"
    return "\n".join([f"| Method | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads), *rows.values()])


def _overall_and_tail(means: dict, methods: list[str], backbone: str, protocol: str) -> dict[str, str]:
    """Write a column of `short_table`, the best of each in bold; what has no backbone stands in every column."""
    cells = dict.fromkeys(methods, "")
    for group in ("overall", "tail_item"):
        anyway = {method: means.get((UNTRAINED, method, protocol, group)) for method in methods}
        of = {method: means.get((backbone, method, protocol, group), anyway[method]) for method in methods}
        best = max(mean for mean in of.values() if mean is not None)
        for method, mean in of.items():
            text = "–" if mean is None else f"{mean:.4f}"
            cells[method] += " / " * bool(cells[method]) + (f"**{text}**" if mean == best else text)
    return cells


def blocks() -> dict[str, str]:
    """Give the content of every block that a page may mark."""
    content = {"datasets": dataset_table(), "choices": choices_table(), "authors": authors_table()}
    for name in DATASETS:
        metrics = published.load(name)
        tests = published.load(name, "significance")
        for protocol in ("sampled100", "full"):
            content[f"{name} {protocol}"] = tables.overall(metrics, protocol, "NDCG@10", tests)
        content[f"{name} costs"] = tables.costs(published.load(name, "timings"), metrics)
    first = next(iter(DATASETS))
    for name, studies in STUDIES.items():
        for study in studies:
            content[f"{name} {study}"] = (results(name) / f"{study}.md").read_text(encoding="utf-8").strip()
    for name in (*DATASETS, "office-products"):
        content[f"{name} short"] = short_table(name)
    content["movielens-100k diversity"] = diversity.table(pl.read_csv(results("movielens-100k") / "diversity.csv"))
    theirs = paper.gains(paper.published().filter(source=paper.PAPER), "NDCG@10")
    content["paper"] = paper.table(theirs, pl.concat(paper.gains(published.load(one), "NDCG@10") for one in DATASETS))
    content["benchmarks"] = benchmarks_table(first)
    content["debias"] = (results(first) / "debias.md").read_text(encoding="utf-8").strip()
    audited = pl.read_csv(results("movielens-100k") / "audit.csv")
    content["audit"] = diversity.audit_table(audited, "gender", {"dualmatch-adv-user": "DualMatch, rival on gender"})
    for name in (first, "office-products"):
        content[f"{name} cold"] = (results(name) / "cold.md").read_text(encoding="utf-8").strip()
    content["diversity"] = diversity.table(pl.read_csv(results(first) / "diversity.csv"))
    for name, table in (("ml-latest-small", "ugc"), ("movielens-100k", "fusion"), ("movielens-100k", "missing")):
        content[table] = (results(name) / f"{table}.md").read_text(encoding="utf-8").strip()
    return content


def filled(pages: list[str]) -> list[str]:
    """Put the blocks between their marks `<!-- results: NAME -->` and `<!-- end -->`, on whichever page has them.

    Raises:
        InputError: no page has a block's mark, or a page marks a block that there is not.
    """
    content = blocks()
    unused = dict(content)

    def block(found: re.Match) -> str:
        name = found["name"]
        if name not in content:
            raise InputError(f"a page asks for '{name}' of results/, which is none of {', '.join(content)}")
        unused.pop(name, None)
        return f"<!-- results: {name} -->\n{content[name]}\n<!-- end -->"

    mark = re.compile(r"<!-- results: (?P<name>.*?) -->.*?<!-- end -->", re.DOTALL)
    written = [mark.sub(block, page) for page in pages]
    for name in unused:
        raise InputError(f"no page has the mark '<!-- results: {name} -->': add it, and '<!-- end -->' behind it")
    return written


if __name__ == "__main__":
    for file, text in zip(PAGES, filled([page.read_text(encoding="utf-8") for page in PAGES]), strict=True):
        with replacing(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
