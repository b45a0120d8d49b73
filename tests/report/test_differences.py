"""Differences of methods and of variants: tables, forests, and the pairs that readers ask for."""

import polars as pl
from llmesr.report import differences

LABELS = {"full": "LLM-ESR", "less": "w/o something"}
ABOUT = {"against": "full", "metric": "NDCG@10", "low": -0.03, "high": 0.01, "q": 0.2, "significant": False}
SURE = {"low": 0.01, "high": 0.05, "q": 0.0004, "significant": True}
COMPARED = pl.DataFrame(
    [
        {**ABOUT, "method": "less", "protocol": "sampled", "group": "overall", "difference": -0.01},
        {**ABOUT, **SURE, "method": "less", "protocol": "sampled", "group": "tail_item", "difference": 0.03},
        {**ABOUT, **SURE, "method": "less", "protocol": "full", "group": "overall", "difference": -0.03},
        {**ABOUT, "method": "less", "protocol": "full", "group": "head_user", "difference": 9.0},
        {**ABOUT, "method": "full", "against": "less", "protocol": "full", "group": "overall", "difference": 9.0},
    ]
)
ROWS = differences.against(COMPARED, LABELS, "full", "NDCG@10")


def test_differences_have_their_interval_and_say_which_way_they_go():
    assert differences.table(ROWS, "Minus LLM-ESR").splitlines() == [
        "| Minus LLM-ESR | All test cases, sampled ranking | Tail items, sampled ranking "
        "| All test cases, full ranking | Tail items, full ranking |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| w/o something | – -0.010 [-0.030, +0.010], q = 0.200 | ▲ +0.030 [+0.010, +0.050], q < 0.001 "
        "| ▼ -0.030 [+0.010, +0.050], q < 0.001 | – |",
    ]


def test_a_forest_has_a_dot_a_difference_and_its_interval_as_a_bar():
    figure = differences.forest(ROWS, "What?", "NDCG@10")
    overall, tail, full, tail_full = figure.axes
    assert [text.get_text() for text in overall.get_yticklabels()] == ["w/o something"]  # the reference is the line
    zero, bar, dot = overall.lines
    assert zero.get_xdata()[0] == 0
    assert list(bar.get_xdata()) == [-0.03, 0.01]
    assert list(dot.get_xdata()) == [-0.01]
    assert dot.get_markerfacecolor() == "white"  # not significant
    assert tail.lines[2].get_markerfacecolor() != "white"
    assert list(full.lines[2].get_xdata()) == [-0.03]
    assert len(tail_full.lines) == 1  # nothing was compared there


def test_pairs_are_turned_where_they_were_compared_the_other_way_and_the_best_other_row_is_found():
    values = {"popularity": 0.9, "base": 0.1, "llminit": 0.3, "llmesr": 0.2, "dualmatch": 0.4}
    metrics = pl.DataFrame(
        [
            {
                "backbone": "untrained" if method == "popularity" else "sasrec",
                "method": method,
                "metric": "NDCG@10",
                "protocol": "sampled",
                "group": "overall",
                "value": value,
            }
            for method, value in values.items()
        ]
    )
    compared = [("llmesr", "base"), ("llminit", "llmesr"), ("dualmatch", "llmesr"), ("llminit", "dualmatch")]
    tests = pl.DataFrame(
        [
            {
                "backbone": "sasrec",
                "method": one,
                "against": other,
                "protocol": "sampled",
                "group": "overall",
                "metric": "NDCG@10",
                "difference": round(values[one] - values[other], 3),
                "low": -0.5,
                "high": 0.7,
                "q": 0.01,
                "significant": True,
            }
            for one, other in compared
        ]
    )
    found = {
        name: (row["difference"], row["low"], row["high"])
        for name, columns in differences.pairs(tests, metrics, "NDCG@10").items()
        for row in columns.values()
    }
    assert found == {
        "SASRec: LLM-ESR − Base": (0.1, -0.5, 0.7),
        "SASRec: LLM-ESR − LLMInit": (-0.1, -0.7, 0.5),
        "SASRec: DualMatch − LLM-ESR": (0.2, -0.5, 0.7),
        "SASRec: DualMatch − LLMInit": (0.1, -0.7, 0.5),
    }
