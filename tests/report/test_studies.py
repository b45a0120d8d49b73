"""Tables and figures of the studies: a row or a dot a variant, beside the method as it is."""

import numpy as np
import polars as pl
import pytest
from llmesr.report import studies


def frame(rows):
    """Rows (method, group, values of the seeds) at sampled, NDCG@10."""
    columns = ["dataset", "backbone", "method", "seed", "protocol", "group", "metric", "value"]
    tidy = [
        ("d", "sasrec", method, seed, "sampled", group, "NDCG@10", value)
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
            "protocol": "sampled",
            "metric": "NDCG@10",
            "group": "overall",
            "significant": True,
        }
    ]
)


def test_table_of_variants_by_hand():
    lines = studies.table(METRICS, LABELS, TESTS, "sampled", "NDCG@10").splitlines()
    assert lines[2] == "| LLM-ESR | 0.3000 ± 0.1414 | 0.1000 ± 0.0000 | – | – |  |"
    assert lines[3] == "| w/o something | 0.1500 ± 0.0000† | 0.1000 ± 0.0000 | – | – | -50.0% |"


def test_one_seed_has_no_deviation():
    lines = studies.table(METRICS.filter(seed=0), LABELS, TESTS, "sampled", "NDCG@10").splitlines()
    assert lines[2] == "| LLM-ESR | 0.2000 | 0.1000 | – | – |  |"
    assert lines[3] == "| w/o something | 0.1500† | 0.1000 | – | – | -25.0% |"


def test_a_table_and_a_figure_may_have_another_reference():
    text = studies.table(METRICS, LABELS, TESTS, "sampled", "NDCG@10", "less")
    assert text.splitlines()[2] == "| LLM-ESR | 0.3000 ± 0.1414 | 0.1000 ± 0.0000 | – | – | +100.0% |"
    assert (
        text.splitlines()[3] == "| w/o something | 0.1500 ± 0.0000 | 0.1000 ± 0.0000 | – | – |  |"
    )  # tested against full
    figure = studies.dots(METRICS, LABELS, "sampled", "NDCG@10", "less")
    assert figure.axes[0].lines[-1].get_xdata()[0] == pytest.approx(0.15)


def test_a_second_comparison_has_a_mark_of_its_own():
    against_both = pl.concat([TESTS, TESTS.with_columns(against=pl.lit("more"))])
    lines = studies.table(METRICS, LABELS, against_both, "sampled", "NDCG@10", second="more").splitlines()
    assert "0.1500 ± 0.0000†‡ |" in lines[3]
    only = studies.table(METRICS, LABELS, against_both.filter(against="more"), "sampled", "NDCG@10", second="more")
    assert "0.1500 ± 0.0000‡ |" in only
    assert "‡" not in studies.table(METRICS, LABELS, against_both, "sampled", "NDCG@10")


def test_speeds_are_whole_texts():
    assert studies.speeds({"LLM-ESR": 1234.5, "other": 7.6}).splitlines()[2:] == [
        "| LLM-ESR | 1,234 |",
        "| other | 8 |",
    ]


def test_dots_stand_at_the_means_and_the_line_at_the_full_model():
    figure = studies.dots(METRICS, LABELS, "sampled", "NDCG@10")
    overall, tail = figure.axes
    assert [text.get_text() for text in overall.get_yticklabels()] == list(LABELS.values())
    assert overall.lines[-1].get_xdata()[0] == pytest.approx(0.3)
    assert tail.lines[-1].get_xdata()[0] == pytest.approx(0.1)
    assert overall.get_xlabel() == "NDCG@10 (sampled)"


def test_curves_run_over_the_numbers():
    figure = studies.curves(METRICS, {"α": {"full": 0.1, "less": 0.01}}, "sampled", "NDCG@10")
    overall = figure.axes[0]
    np.testing.assert_allclose(overall.lines[0].get_xydata(), [[0.01, 0.15], [0.1, 0.3]])
    assert overall.get_xlabel() == "α"


def test_differences_have_their_interval_and_say_which_way_they_go():
    about = {"against": "full", "metric": "NDCG@10", "low": -0.03, "high": 0.01, "q": 0.2, "significant": False}
    sure = {"low": 0.01, "high": 0.05, "q": 0.001, "significant": True}
    tests = pl.DataFrame(
        [
            {**about, "method": "less", "protocol": "sampled", "group": "overall", "difference": -0.01},
            {**about, **sure, "method": "less", "protocol": "sampled", "group": "tail_item", "difference": 0.03},
            {**about, **sure, "method": "less", "protocol": "full", "group": "overall", "difference": -0.03},
            {**about, "method": "less", "protocol": "full", "group": "head_user", "difference": 9.0},
            {**about, "method": "full", "against": "less", "protocol": "full", "group": "overall", "difference": 9.0},
        ]
    )
    assert studies.differences(tests, LABELS, "full", "NDCG@10").splitlines() == [
        "| Minus LLM-ESR | Overall, sampled ranking | Tail item, sampled ranking | Overall, full ranking "
        "| Tail item, full ranking |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| w/o something | -0.0100 [-0.0300, +0.0100], q = 0.200 – | +0.0300 [+0.0100, +0.0500], q = 0.001 ▲ "
        "| -0.0300 [+0.0100, +0.0500], q = 0.001 ▼ | – |",
    ]
