"""Labels that come from the data never make a figure wide."""

import numpy as np
import polars as pl
import torch
from llmesr.report import maps
from llmesr.report.modalities import share_bars
from llmesr.report.plots.train import heatmap
from llmesr.report.plotting import LABEL, label
from matplotlib.text import Text

LONG = "a very long title " * 5000


def test_a_label_is_cut_and_a_short_one_stays():
    assert label(" two  words\n") == "two words"
    assert len(label(LONG)) == LABEL
    assert label(LONG).endswith("…")


def test_figures_cut_what_the_data_calls_things():
    items = pl.DataFrame({"title": ["x"] * 20, "kind": [f"{LONG} {i}" for i in range(20)], "tail": ["tail_item"] * 20})
    kind, kinds = maps.category(items, "kind")
    figures = [
        share_bars({"text": np.array([0.5, 0.5])}, [LONG, LONG], "shop"),
        heatmap(torch.eye(2), [LONG, LONG], "title"),
        maps.draw({"one": np.zeros((20, 2))}, np.ones(20), kind, kinds),
    ]
    for figure in figures:
        figure.canvas.draw()
        assert max(len(text.get_text()) for text in figure.findobj(Text)) < 100


def test_items_of_the_same_title_have_bars_of_their_own():
    figure = share_bars({"text": np.array([0.2, 0.7])}, ["Cookies", "Cookies"], "shop")
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["1. Cookies", "2. Cookies"]
