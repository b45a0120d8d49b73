"""Tables and figures of views show the numbers that they are given."""

import numpy as np
import polars as pl
import pytest
from llmesr.report import modalities as report

COVERAGE = pl.DataFrame({"view": ["words"], "width": [384], "items": [9], "of the tail": [0.05], "of the head": [0.3]})
LABELS = {"both": "Text and graph", "other": "Graph"}


@pytest.fixture
def losses():
    """Two variants, the second of which lacks the first one's text."""
    rows = [
        (variant, seed, hidden, share, "NDCG@10", value - share * 0.1 + seed * 0.01)
        for variant, hidden, value in (("other", "graph", 0.2), ("both", "text", 0.4), ("both", "graph", 0.4))
        for seed in (1, 3)
        for share in (0.0, 1.0)
    ]
    return pl.DataFrame(rows, ["variant", "seed", "hidden", "share", "metric", "value"], orient="row")


def test_bars_are_as_long_as_the_shares():
    shares = {"text": np.array([0.75, 1.5]), "ID": np.array([0.25, -0.5])}
    axis = report.share_bars(shares, ["Heat", "Fargo"], "films").axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["1. Heat", "2. Fargo"]
    assert [[bar.get_width() for bar in group] for group in axis.containers] == [[0.75, 1.5], [0.25, -0.5]]
    axis = report.coverage_bars(COVERAGE, "films").axes[0]
    assert [bar.get_width() for group in axis.containers for bar in group] == [0.05, 0.3]
    assert "films" in axis.get_title()


def test_an_empty_coverage_is_a_sentence():
    text = report.coverage_table(COVERAGE.clear(), {"read": 0}, "films")
    assert "'datasets.films.modalities' names no view" in text
    assert "No texts by users of films were read." in text
    assert "|" not in text


def test_coverage_and_steps_are_tables():
    text = report.coverage_table(COVERAGE, {"read": 1200, "no spam": 7}, "films")
    assert "| words | 384 | 9 | 5.0% | 30.0% |" in text
    assert "| read | 1,200 |\n| no spam | 7 |" in text


def test_a_variant_has_the_same_colour_in_every_panel(losses):
    figure = report.missing_curves(losses, LABELS, "NDCG@10", "films")
    colours = [{line.get_color() for line in axis.lines if len(line.get_xdata())} for axis in figure.axes]
    assert colours[0] & colours[1]
    assert len(colours[0] | colours[1]) == 2
    assert "films" in figure.get_suptitle()
    assert "2 seeds" in figure.get_suptitle()


def test_the_table_averages_over_seeds(losses):
    lines = report.missing_table(losses, LABELS, "NDCG@10", "films").splitlines()
    assert "films" in lines[0]
    assert lines[3] == "| Variant | Hidden | 0% | 100% |"
    assert lines[5:] == [
        "| Graph | graph | 0.220 | 0.120 |",
        "| Text and graph | text | 0.420 | 0.320 |",
        "| Text and graph | graph | 0.420 | 0.320 |",
    ]
