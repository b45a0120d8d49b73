"""Long-tail groups and the dataset card."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmesr.prepare.card import describe, gini
from llmesr.prepare.groups import edge_label, edge_names, tail_label, tail_threshold


def test_tail_threshold_by_hand():
    counts = np.array([1, 1, 2, 2, 3, 3, 4, 5, 9, 30])
    assert tail_threshold(counts, 0.8, None) == 6  # the quantile is 5.8: nine of ten… of which eight are below 6
    assert (counts < 6).mean() == 0.8
    assert tail_threshold(counts, 0.8, below=4) == 4
    labels = pl.DataFrame({"n": counts}).select(tail_label(pl.col("n"), 6, "item")).to_series()
    assert labels.to_list() == ["tail_item"] * 8 + ["head_item"] * 2


def test_edges_cover_everything_once():
    names = edge_names((5, 10, 15, 20), "length")
    assert names == ["length_0-4", "length_5-9", "length_10-14", "length_15-19", "length_20+"]
    counts = pl.DataFrame({"n": [0, 4, 5, 9, 10, 19, 20, 500]})
    labels = counts.select(edge_label(pl.col("n"), (5, 10, 15, 20), "length")).to_series().to_list()
    assert labels == [names[i] for i in (0, 0, 1, 1, 2, 3, 4, 4)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=60), st.floats(0.05, 0.95))
def test_every_count_is_in_one_group_and_the_tail_is_the_quantiles_share(counts, quantile):
    edges = (5, 10, 20, 100)
    threshold = tail_threshold(np.array(counts), quantile, None)
    found = pl.DataFrame({"n": counts}).select(
        "n", tail_label(pl.col("n"), threshold, "item").alias("tail"), edge_label(pl.col("n"), edges, "n").alias("edge")
    )
    assert (found["tail"] == "tail_item").mean() >= quantile - 1 / len(counts)  # the quantile lies between two counts
    assert found.filter(tail="tail_item")["n"].max() < threshold
    for n, _, name in found.rows():
        place = edge_names(edges, "n").index(name)
        assert (0, *edges)[place] <= n < (*edges, np.inf)[place]


# --- the card ---


def test_gini():
    assert gini(np.array([3, 3, 3])) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 12])) == pytest.approx(0.75)  # (n - 1) / n when one has everything


def test_the_card_counts_what_users_have():
    users = pl.DataFrame({"length": [2, 11], "tail": ["tail_user", "head_user"]})  # the first is in training only
    items = pl.DataFrame({"count": [4, 7], "tail": ["tail_item", "head_item"], "title": ["A", "B"]})
    card = describe(users, items, np.array([2, 12]), {"user": 3, "item": 5})
    assert (card["interactions"], card["average_length"], card["longest_user"]) == (14, 7.0, 12)
    assert (card["users_under_10"], card["users_under_30"]) == (0.5, 1.0)
