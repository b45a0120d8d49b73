"""Write the tables of README.md and results/README.md anew from `results/`: `python -m llmesr.tools.readme`.

A page marks where a table goes by `<!-- results: NAME -->` and `<!-- end -->`. NAME is `datasets`, `verdicts`,
`headline`, `own interactions`, `DATASET short`, or a file: `movielens-100k fusion/missing` is
`results/movielens-100k/fusion/missing.md`, and `movielens-100k fusion` the `table.md` in that folder.
"""

import json
import re
import sys

import polars as pl

from llmesr.errors import InputError
from llmesr.evaluate.references import UNTRAINED
from llmesr.models.backbones import BACKBONES
from llmesr.paths import ROOT, replacing, results, shown
from llmesr.report import BACKBONE_NAMES, DATASET_NAMES, METHOD_NAMES, PROTOCOLS, differences, paper, published
from llmesr.report.plots.architecture import architecture
from llmesr.report.plotting import save

PAGES = (ROOT / "README.md", ROOT / "results" / "README.md")
DATASETS = ("complete-journey", "movielens-100k", "office-products")
"""Those of the tables of datasets and of verdicts."""
VERDICTS = {**differences.GROUPS, "tail_user": "tail users"}
NOT_RUN = "·"
METRIC = "NDCG@10"
CARD = {
    "users": "Users",
    "items": "Items",
    "interactions": "Interactions",
    "average_length": "Average length",
    "users_under_10": "Users under 10",
    "items_under_10": "Items under 10",
}
MARK = re.compile(r"<!-- results: (?P<name>.*?) -->.*?<!-- end -->", re.DOTALL)


def datasets() -> str:
    """Lay out the dataset cards, a row a dataset."""
    rows = []
    for name in DATASETS:
        card = json.loads((results(name, "prepare") / "card.json").read_text(encoding="utf-8"))
        rows.append(
            [DATASET_NAMES[name], *(f"{card[key]:.0%}" if "under" in key else f"{card[key]:,}" for key in CARD)]
        )
    return _table(["Dataset", *CARD.values()], rows)


def verdicts() -> str:
    """Lay out which of two methods is better: a sign a backbone, a column a dataset and protocol."""
    columns, signs = [], {}
    for name in DATASETS:
        metrics, tests = published.load(name), published.load(name, "significance")
        for protocol, ranking in PROTOCOLS.items():
            column = f"{DATASET_NAMES[name]}, {ranking}"
            columns.append(column)
            for row, found in differences.pairs(tests, metrics, METRIC).items():
                backbone, pair = row.split(": ")
                for group, what in VERDICTS.items():
                    if one := found.get((protocol, group)):
                        sign = "–" if not one["significant"] else "▲" if one["difference"] > 0 else "▼"
                        signs[pair, what, column, backbone] = sign
    backbones = [backbone.title for backbone in BACKBONES.values()]
    rows = []
    for pair in (f"{METHOD_NAMES[one]} − {METHOD_NAMES[other]}" for one, other in differences.PAIRS):
        for what in VERDICTS.values():
            cells = [" ".join(signs.get((pair, what, column, one), NOT_RUN) for one in backbones) for column in columns]
            if any(set(cell) - {NOT_RUN, " "} for cell in cells):
                rows.append([f"{pair}, {what}", *cells])
    return _table([f"{METRIC}: better (▲), worse (▼) or neither (–)", *columns], rows)


def headline() -> str:
    """Say in a sentence what LLM-ESR gains over its backbone, on the first dataset's SASRec in the sampled ranking."""
    dataset, backbone = DATASETS[0], "sasrec"
    rows = published.load(dataset).filter(metric=METRIC, protocol="sampled").group_by("backbone", "method", "group")
    mean = {tuple(key): value for *key, value in rows.agg(pl.mean("value")).iter_rows()}

    def gain(group: str) -> str:
        return " to ".join(f"{mean[backbone, method, group]:.3f}" for method in ("base", "llmesr"))

    where = f"{DATASET_NAMES[dataset]}, {BACKBONE_NAMES[backbone]}, {PROTOCOLS['sampled']}"
    popular = [f"{mean[UNTRAINED, 'popularity', group]:.3f}" for group in ("overall", "tail_item", "tail_user")]
    return (
        f"{where}: with LLM-ESR {METRIC} goes from {gain('overall')}, on tail items from {gain('tail_item')}, and for "
        f"tail users from {gain('tail_user')}. Recommending what is popular reaches {popular[0]}, {popular[1]} and "
        f"{popular[2]}."
    )


def short(dataset: str) -> str:
    """Lay out NDCG@10 overall / on tail items, means over seeds, a row a method, a column a protocol and backbone.

    The best of each column is bold. What has no backbone stands in every column.
    """
    kept = published.load(dataset).filter(metric=METRIC)
    averages = kept.group_by("backbone", "method", "protocol", "group").agg(pl.mean("value"))
    means = {tuple(key): mean for *key, mean in averages.iter_rows()}
    methods = kept["method"].unique(maintain_order=True).to_list()
    backbones = [one for one in kept["backbone"].unique(maintain_order=True) if one != UNTRAINED]
    columns = [(protocol, backbone) for protocol in PROTOCOLS for backbone in backbones]
    head = ["Method", *(f"{BACKBONE_NAMES[backbone]}, {PROTOCOLS[protocol]}" for protocol, backbone in columns)]
    rows = [[METHOD_NAMES.get(method, method)] for method in methods]
    for protocol, backbone in columns:
        overall, tail = (_column(means, methods, backbone, protocol, group) for group in ("overall", "tail_item"))
        for row, *cells in zip(rows, overall, tail, strict=True):
            row.append(" / ".join(cells))
    return _table(head, rows)


def _column(means: dict[tuple, float], methods: list[str], backbone: str, protocol: str, group: str) -> list[str]:
    """Write the mean of each method, the best in bold, a dash where there is none."""
    own = [
        means.get((backbone, name, protocol, group), means.get((UNTRAINED, name, protocol, group))) for name in methods
    ]
    best = max((mean for mean in own if mean is not None), default=None)
    texts = ["–" if mean is None else f"{mean:.4f}" for mean in own]
    return [f"**{text}**" if mean is not None and mean == best else text for mean, text in zip(own, texts, strict=True)]


def _table(head: list[str], rows: list[list[str]]) -> str:
    """Write a table in Markdown, its first column aligned left and the others right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def content(name: str) -> str:
    """Make the table that a mark names.

    Raises:
        InputError: there is none.
    """
    if name == "datasets":
        return datasets()
    if name == "verdicts":
        return verdicts()
    if name == "headline":
        return headline()
    if name == "own interactions":
        return paper.own_interactions(METRIC)
    dataset, _, part = name.partition(" ")
    if part == "short":
        return short(dataset)
    file = results(dataset) / (f"{part}.md" if "/" in part else f"{part}/table.md")
    if not part or not file.exists():
        raise InputError(
            f"the mark 'results: {name}' is neither 'datasets', 'verdicts', 'headline', 'own interactions' nor "
            f"'DATASET short', and {shown(file)} is missing: correct it"
        )
    return file.read_text(encoding="utf-8").strip()


def filled(page: str) -> str:
    """Put the tables between the marks of a page.

    Raises:
        InputError: a mark names a table that there is not.
    """
    return MARK.sub(lambda mark: f"<!-- results: {mark['name']} -->\n{content(mark['name'])}\n<!-- end -->", page)


def main() -> None:
    """Write the pages anew, and the picture of the method that README begins with."""
    try:
        texts = [filled(page.read_text(encoding="utf-8")) for page in PAGES]
    except InputError as problem:
        sys.exit(str(problem))
    for page, text in zip(PAGES, texts, strict=True):
        with replacing(page) as temporary:
            temporary.write_text(text, encoding="utf-8")
    save(architecture(), ROOT / "docs" / "architecture.png")


if __name__ == "__main__":
    main()
