"""Stages 08 and later: maps, the paper's numbers, the studies' tables and figures."""

import numpy as np
import polars as pl
import pytest
from llmesr.report import maps, paper, studies
from matplotlib.figure import Figure


def frame(rows):
    """Rows (method, group, values of the seeds) at sampled100, NDCG@10."""
    columns = ["dataset", "backbone", "method", "seed", "protocol", "group", "metric", "value"]
    tidy = [
        ("d", "sasrec", method, seed, "sampled100", group, "NDCG@10", value)
        for method, group, values in rows
        for seed, value in enumerate(values)
    ]
    return pl.DataFrame(tidy, schema=columns, orient="row")


METRICS = frame(
    [
        ("full", "overall", [0.2, 0.4]),
        ("full", "tail_item", [0.1, 0.1]),
        ("less", "overall", [0.15, 0.15]),
        ("less", "tail_item", [0.1, 0.1]),
    ]
)
LABELS = {"full": "LLM-ESR", "less": "w/o something"}
TESTS = pl.DataFrame(
    [
        {
            "method": "less",
            "against": "full",
            "protocol": "sampled100",
            "metric": "NDCG@10",
            "group": "overall",
            "significant": True,
        }
    ]
)


# --- studies ---


def test_table_of_variants_by_hand():
    lines = studies.table(METRICS, LABELS, TESTS, "sampled100", "NDCG@10").splitlines()
    assert lines[2] == "| LLM-ESR | 0.3000 ± 0.1414 | 0.1000 ± 0.0000 | – | – |  |"
    assert lines[3] == "| w/o something | 0.1500 ± 0.0000† | 0.1000 ± 0.0000 | – | – | -50.0% |"


def test_one_seed_has_no_deviation():
    lines = studies.table(METRICS.filter(seed=0), LABELS, TESTS, "sampled100", "NDCG@10").splitlines()
    assert lines[2] == "| LLM-ESR | 0.2000 | 0.1000 | – | – |  |"
    assert lines[3] == "| w/o something | 0.1500† | 0.1000 | – | – | -25.0% |"


def test_a_table_and_a_figure_may_have_another_reference():
    text = studies.table(METRICS, LABELS, TESTS, "sampled100", "NDCG@10", "less")
    assert text.splitlines()[2] == "| LLM-ESR | 0.3000 ± 0.1414 | 0.1000 ± 0.0000 | – | – | +100.0% |"
    assert (
        text.splitlines()[3] == "| w/o something | 0.1500 ± 0.0000 | 0.1000 ± 0.0000 | – | – |  |"
    )  # tested against full
    figure = studies.dots(METRICS, LABELS, "sampled100", "NDCG@10", "less")
    assert figure.axes[0].lines[-1].get_xdata()[0] == pytest.approx(0.15)


def test_a_second_comparison_has_a_mark_of_its_own():
    against_both = pl.concat([TESTS, TESTS.with_columns(against=pl.lit("more"))])
    lines = studies.table(METRICS, LABELS, against_both, "sampled100", "NDCG@10", second="more").splitlines()
    assert "0.1500 ± 0.0000†‡ |" in lines[3]
    only = studies.table(METRICS, LABELS, against_both.filter(against="more"), "sampled100", "NDCG@10", second="more")
    assert "0.1500 ± 0.0000‡ |" in only
    assert "‡" not in studies.table(METRICS, LABELS, against_both, "sampled100", "NDCG@10")


def test_speeds_are_whole_texts():
    assert studies.speeds({"LLM-ESR": 1234.5, "other": 7.6}).splitlines()[2:] == [
        "| LLM-ESR | 1,234 |",
        "| other | 8 |",
    ]


def test_dots_stand_at_the_means_and_the_line_at_the_full_model():
    figure = studies.dots(METRICS, LABELS, "sampled100", "NDCG@10")
    overall, tail = figure.axes
    assert [text.get_text() for text in overall.get_yticklabels()] == list(LABELS.values())
    assert overall.lines[-1].get_xdata()[0] == pytest.approx(0.3)
    assert tail.lines[-1].get_xdata()[0] == pytest.approx(0.1)
    assert overall.get_xlabel() == "NDCG@10 (sampled100)"


def test_curves_run_over_the_numbers():
    figure = studies.curves(METRICS, {"α": {"full": 0.1, "less": 0.01}}, "sampled100", "NDCG@10")
    overall = figure.axes[0]
    np.testing.assert_allclose(overall.lines[0].get_xydata(), [[0.01, 0.15], [0.1, 0.3]])
    assert overall.get_xlabel() == "α"


# --- the paper's numbers ---


def test_gains_by_hand():
    found = paper.gains(
        frame(
            [
                ("none", "overall", [0.1, 0.3]),
                ("llmesr", "overall", [0.3, 0.3]),
                ("none", "head_item", [0.5, 0.5]),
                ("no-fusion", "overall", [0.9, 0.9]),
            ]
        ),
        "NDCG@10",
    )
    assert found.select("method", "group", "gain").rows() == [("llmesr", "overall", pytest.approx(0.5))]


def test_published_figures_are_those_of_the_paper():
    """LLM-ESR on Yelp with SASRec: 0.3597 to 0.4208 overall, 0.0495 to 0.0845 on tail items."""
    theirs = paper.gains(paper.published().filter(source=paper.PAPER), "NDCG@10")
    found = theirs.filter(dataset="yelp", backbone="sasrec", method="llmesr").sort("group")
    assert found["gain"].to_list() == pytest.approx([0.4208 / 0.3597 - 1, 0.0845 / 0.0495 - 1])
    lines = paper.table(theirs, theirs).splitlines()
    assert "| Liu et al. 2024 | yelp | SASRec | LLM-ESR | +17.0% | +70.7% |" in lines
    assert "| Liu et al. 2024 | yelp | SASRec | CITIES | (-1.6%) | (+41.4%) |" in lines  # not verified
    assert "| Liu et al. 2024 | yelp | GRU4Rec | LLM-ESR | (+24.1%) | (+439.0%) |" in lines  # nor its plain row
    assert isinstance(paper.bars(theirs, theirs, "llmesr"), Figure)


def test_the_same_dataset_stands_beside_the_papers_values():
    ours = frame([("none", "overall", [0.2, 0.4]), ("cities", "tail_item", [0.05]), ("multiview", "overall", [0.9])])
    lines = paper.side_by_side(ours.with_columns(dataset=pl.lit("yelp")), "NDCG@10").splitlines()
    assert lines[2:] == [
        "| SASRec | None | overall | 0.3597 | 0.3000 ± 0.1414 |",
        "| SASRec | CITIES | tail item | (0.0700) | 0.0500 |",
    ]
    assert paper.side_by_side(ours, "NDCG@10") == "The paper has no row of d: only gains can be compared."


def test_published_groups_recombine():
    """Head and tail of the paper's own rows, weighted by one share for each dataset, give the overall mean."""
    whole = paper.published().filter(source=paper.PAPER, metric="NDCG@10", verified="yes")
    wide = whole.pivot("group", index=["dataset", "backbone", "method"], values="value").drop_nulls("tail_item")
    share = (wide["overall"] - wide["tail_item"]) / (wide["head_item"] - wide["tail_item"])
    spread = (
        wide.with_columns(share.alias("share")).group_by("dataset").agg(pl.col("share").max() - pl.col("share").min())
    )
    assert spread["share"].max() < 0.01


def test_ablation_beside_the_papers():
    metrics = frame([("full", "overall", [0.2, 0.4]), ("no-fusion", "overall", [0.25, 0.25])])
    lines = paper.ablation(metrics, {"full": "LLM-ESR", "no-fusion": "w/o cross-attention"}, "NDCG@10").splitlines()
    assert lines[2:] == ["| LLM-ESR | 0.4208 | 0.4217 | 0.3000 |", "| w/o cross-attention | 0.4160 | 0.4157 | 0.2500 |"]


# --- maps ---


def test_category_is_the_attribute_that_says_so_or_one_that_has_enough_values():
    many = [f"k{i}" for i in range(maps.CATEGORIES)]
    items = pl.DataFrame({"title": many, "two": ["a", "b"] * 4, "brand": many, "tail": ["tail_item"] * 8})
    assert maps.category(items)[0] == "brand"
    named = items.with_columns(pl.Series("genres", ["x", "x", None, "y"] * 2))
    name, kinds = maps.category(named)
    assert (name, kinds[:4].tolist()) == ("genres", ["x", "x", maps.OTHER, "y"])
    assert maps.category(items.select("title"))[0] == "title"


def test_rare_categories_are_other():
    names = [f"k{i}" for i in range(maps.CATEGORIES + 3)]
    items = pl.DataFrame({"title": [str(i) for i in range(2 * len(names) - 3)], "kind": names + names[:-3]})
    _, kinds = maps.category(items)
    assert set(kinds) == {*names[:-3], maps.OTHER}


def test_neighbours_kept_by_hand():
    one = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], dtype=float)
    other = np.array([[1, 0], [0, 1], [0.1, 1], [1, 0.1]], dtype=float)
    assert maps.neighbours_kept(one, one * 3, k=1) == 1.0
    assert maps.neighbours_kept(one, other, k=1) == 0.0
    assert maps.neighbours_kept(one, other, k=10) == 1.0  # all that there are


def test_a_dataset_without_tail_cases_has_a_dash_for_them():
    found = paper.gains(frame([("none", "overall", [0.1]), ("llmesr", "overall", [0.2])]), "NDCG@10")
    assert paper.table(found, found).splitlines()[-1] == "| here | d | SASRec | LLM-ESR | +100.0% | – |"


def test_a_map_shows_every_item_in_both_rows():
    rng = np.random.default_rng(0)
    points = maps.project(rng.normal(size=(30, 5)))
    assert points.shape == (30, 2)
    kinds = np.array(["a", "b", maps.OTHER] * 10)
    upper, lower = maps.draw({"table": points}, np.arange(30), "kind", kinds).axes[:2]
    assert len(upper.collections[0].get_offsets()) == 30
    assert sum(len(part.get_offsets()) for part in lower.collections) == 30
