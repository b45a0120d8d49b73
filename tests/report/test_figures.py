"""Figures show what the frames hold, the same bytes each time."""

import numpy as np
import polars as pl
import pytest
from llmesr.report.plots import long_tail as figures
from llmesr.report.plots.prepare import distributions, lorenz
from llmesr.report.plotting import PALETTE, save
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

VALUES = {
    ("gru4rec", "base", "overall"): [0.30, 0.30],
    ("sasrec", "base", "overall"): [0.10, 0.20],
    ("sasrec", "base", "tail_item"): [0.02, 0.02],
    ("sasrec", "llmesr", "overall"): [0.18, 0.18],
    ("sasrec", "llmesr", "tail_item"): [0.01, 0.01],
    ("untrained", "popularity", "overall"): [0.9],
}
METRICS = pl.DataFrame(
    [("d", *run, 42 + i, "full", "NDCG@10", value) for run, values in VALUES.items() for i, value in enumerate(values)],
    schema=["dataset", "backbone", "method", "group", "seed", "protocol", "metric", "value"],
    orient="row",
)


def bars(axis):
    return {round(bar.get_height(), 4): to_hex(bar.get_facecolor()) for bar in axis.patches if bar.get_height() > 0}


@pytest.fixture
def figure():
    families = {"Items": {"overall": "All", "tail_item": "Tail"}}
    return figures.by_group(METRICS, "full", "NDCG@10", families, "Title")


def test_a_bar_is_the_mean_of_a_method_and_group(figure):
    gru4rec, sasrec = figure.axes
    assert (gru4rec.get_title(), sasrec.get_title()) == ("GRU4Rec", "SASRec")
    assert set(bars(gru4rec)) == {0.3}
    assert set(bars(sasrec)) == {0.01, 0.02, 0.15, 0.18}
    assert gru4rec.get_ylabel() == "NDCG@10 (full)"
    assert sasrec.get_xlabel() == "Items"


def test_a_method_has_the_same_colour_in_every_panel(figure):
    gru4rec, sasrec = map(bars, figure.axes)
    assert gru4rec[0.3] == sasrec[0.15] == sasrec[0.02]
    assert sasrec[0.15] != sasrec[0.18]
    assert set(PALETTE) >= {"Base", "LLM-ESR", "DualMatch"}


def test_references_have_no_panel(figure):
    assert len(figure.axes) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Base", "LLM-ESR"]


def test_a_figure_is_not_shown_twice(figure):
    assert figure.number not in plt.get_fignums()


@pytest.mark.slow
def test_the_same_figure_has_the_same_bytes(tmp_path, data):
    def drawn(name):
        save(distributions(data.users, data.items, data.card, "tiny"), tmp_path / name)
        return (tmp_path / name).read_bytes()

    assert drawn("a.png") == drawn("b.png")


def test_the_lorenz_curve_by_hand():
    items, interactions = lorenz(np.array([6, 1, 3]))
    np.testing.assert_allclose(items, [0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(interactions, [0, 0.1, 0.4, 1])
