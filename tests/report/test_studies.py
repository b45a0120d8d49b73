"""Tables and figures of the studies: a row or a dot a variant, beside the method as it is."""

from dataclasses import replace

import numpy as np
import polars as pl
from llmesr import experiments
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
BOTH = pl.concat([METRICS, METRICS.with_columns(protocol=pl.lit("full"))])
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


COMPARED = TESTS.with_columns(difference=-0.2, low=-0.3, high=-0.1, q=0.01)


def test_table_of_variants_by_hand():
    lines = studies.table(METRICS, LABELS, TESTS, "sampled", "NDCG@10").splitlines()
    assert lines[2] == "| LLM-ESR | 0.3000 ± 0.1414 | 0.1000 ± 0.0000 | – | – |  |"
    assert lines[3] == "| w/o something | 0.1500 ± 0.0000† | 0.1000 ± 0.0000 | – | – | -50.0% |"


def test_one_seed_has_no_deviation():
    lines = studies.table(METRICS.filter(seed=0), LABELS, TESTS, "sampled", "NDCG@10").splitlines()
    assert lines[2] == "| LLM-ESR | 0.2000 | 0.1000 | – | – |  |"
    assert lines[3] == "| w/o something | 0.1500† | 0.1000 | – | – | -25.0% |"


def test_a_table_may_have_another_reference():
    lines = studies.table(METRICS, LABELS, TESTS, "sampled", "NDCG@10", "less").splitlines()
    assert lines[2] == "| LLM-ESR | 0.3000 ± 0.1414 | 0.1000 ± 0.0000 | – | – | +100.0% |"
    assert lines[3] == "| w/o something | 0.1500 ± 0.0000 | 0.1000 ± 0.0000 | – | – |  |"  # tested against full


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


def test_curves_run_over_the_numbers():
    figure = studies.curves(BOTH, {"α": {"full": 0.1, "less": 0.01}}, "NDCG@10", "How much?")
    assert [axis.get_title() for axis in figure.axes] == [
        "all test cases, sampled ranking",
        "tail items, sampled ranking",
        "all test cases, full ranking",
        "tail items, full ranking",
    ]
    np.testing.assert_allclose(figure.axes[0].lines[0].get_xydata(), [[0.01, 0.15], [0.1, 0.3]])
    assert figure.axes[0].get_xlabel() == "α"
    assert figure.axes[0].lines[-1].get_xdata()[0] == 0.1  # the default


def test_a_report_writes_what_it_shows(root, tiny, data):
    variant = experiments.Variant("w/o something", "llmesr", tiny)
    study = experiments.Study("parts", "Which?", tiny, {"full": replace(variant, label="LLM-ESR"), "less": variant})
    found = studies.Report(study, data, BOTH, COMPARED)
    assert found.about == "Tiny shop, SASRec, 2 seeds"
    assert found.labels("less") == {"less": "w/o something"}
    folder = root / "results" / "tiny" / "parts"
    found.forest("parts")
    assert (folder / "parts.png").read_bytes()[:4] == b"\x89PNG"
    assert found.tables() == (folder / "table.md").read_text().strip()
    assert found.tables().startswith("**NDCG@10, sampled ranking: Tiny shop, SASRec, 2 seeds**\n\n| Variant |")
    text = found.differences("full", "nobody")
    assert text == (folder / "differences.md").read_text().strip()
    assert text.count("**NDCG@10, minus LLM-ESR: Tiny shop, SASRec, 2 seeds**") == 1
    assert found.write("page", "a", "", "b") == "a\n\nb"
