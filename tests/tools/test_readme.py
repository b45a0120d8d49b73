"""Tables are put between the marks of a page."""

import polars as pl
import pytest
from llmesr import paths
from llmesr.errors import InputError
from llmesr.paths import results
from llmesr.tools import readme


def test_a_mark_is_filled_with_its_file_and_the_rest_is_kept(root):
    for name in ("ablation/table", "fusion/missing"):
        file = results("shop") / f"{name}.md"
        file.parent.mkdir(parents=True)
        file.write_text(f"| {name} |\n")
    page = "a\n<!-- results: shop ablation -->old<!-- end -->\nb\n<!-- results: shop fusion/missing --><!-- end -->\n"
    filled = readme.filled(page)
    assert filled == (
        "a\n<!-- results: shop ablation -->\n| ablation/table |\n<!-- end -->\n"
        "b\n<!-- results: shop fusion/missing -->\n| fusion/missing |\n<!-- end -->\n"
    )
    assert readme.filled(filled) == filled


@pytest.mark.parametrize("name", ["shop ablation", "shop", "nothing at all"])
def test_a_mark_without_a_table_is_named(root, name):
    with pytest.raises(InputError, match=f"the mark 'results: {name}' is neither"):
        readme.filled(f"<!-- results: {name} --><!-- end -->")


def test_the_short_table_has_the_best_in_bold(root):
    keys = ["backbone", "method", "protocol", "group", "value"]
    rows = [
        ("untrained", "popularity", "sampled", "overall", 0.5),
        ("sasrec", "base", "sampled", "overall", 0.2),
        ("sasrec", "base", "sampled", "tail_item", 0.1),
        ("sasrec", "llmesr", "sampled", "overall", 0.3),
        ("sasrec", "llmesr", "sampled", "overall", 0.4),
        ("sasrec", "llmesr", "full", "overall", 0.05),
    ]
    file = results("shop", "evaluate") / "metrics.csv"
    file.parent.mkdir(parents=True)
    frame = pl.DataFrame(rows, schema=keys, orient="row").with_columns(metric=pl.lit("NDCG@10"))
    frame.write_csv(file)
    assert readme.short("shop").splitlines() == [
        "| Method | SASRec, sampled ranking | SASRec, full ranking |",
        "| --- | ---: | ---: |",
        "| Popularity | **0.5000** / – | – / – |",
        "| Base | 0.2000 / **0.1000** | – / – |",
        "| LLM-ESR | 0.3500 / – | **0.0500** / – |",
    ]


def write(stage, name, rows, schema):
    file = results("shop", stage) / name
    file.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, schema=schema, orient="row").with_columns(metric=pl.lit("NDCG@10")).write_csv(file)


def test_verdicts_have_a_sign_a_backbone_and_a_dot_where_there_is_none(root, monkeypatch):
    monkeypatch.setattr(readme, "DATASETS", ("shop",))
    monkeypatch.setitem(readme.DATASET_NAMES, "shop", "Shop")
    means = [(backbone, "llmesr", "sampled", "overall", 0.1) for backbone in ("gru4rec", "sasrec")]
    write("evaluate", "metrics.csv", means, ["backbone", "method", "protocol", "group", "value"])
    tests = [
        ("gru4rec", "llmesr", "base", "sampled", "overall", 0.1, True),
        ("sasrec", "llmesr", "base", "sampled", "overall", -0.1, True),
        ("gru4rec", "llmesr", "base", "sampled", "tail_user", 0.1, False),
        ("sasrec", "base", "llmesr", "full", "tail_item", 0.1, True),  # the other way round
    ]
    keys = ["backbone", "method", "against", "protocol", "group", "difference", "significant"]
    more = [(*row, 0.0, 0.0, 0.01) for row in tests]
    write("evaluate", "significance.csv", more, [*keys, "low", "high", "q"])
    _, _, *rows = readme.verdicts().splitlines()
    assert rows == [
        "| LLM-ESR − Base, all test cases | ▲ · ▼ | · · · |",
        "| LLM-ESR − Base, tail items | · · · | · · ▼ |",
        "| LLM-ESR − Base, tail users | – · · | · · · |",
    ]


def test_the_headline_says_the_gain_and_what_popularity_reaches(root, monkeypatch):
    monkeypatch.setattr(readme, "DATASETS", ("shop",))
    monkeypatch.setitem(readme.DATASET_NAMES, "shop", "Shop")
    groups = ("overall", "tail_item", "tail_user")
    rows = [
        (backbone, method, "sampled", group, value + place / 10)
        for backbone, method, value in (
            ("sasrec", "base", 0.1),
            ("sasrec", "llmesr", 0.2),
            ("untrained", "popularity", 0.3),
        )
        for place, group in enumerate(groups)
    ]
    write("evaluate", "metrics.csv", rows, ["backbone", "method", "protocol", "group", "value"])
    assert readme.headline() == (
        "Shop, SASRec, sampled ranking: with LLM-ESR NDCG@10 goes from 0.100 to 0.200, on tail items from 0.200 to "
        "0.300, and for tail users from 0.300 to 0.400. Recommending what is popular reaches 0.300, 0.400 and 0.500."
    )


def test_the_published_pages_have_all_their_tables():
    assert readme.PAGES[0].parent == paths.ROOT
    for page in readme.PAGES:
        readme.filled(page.read_text(encoding="utf-8"))
