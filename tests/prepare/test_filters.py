"""Filters: repeats, k-core and one pass."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmesr.prepare.filters import first_only, k_core, long_enough, one_pass


def pairs(*rows):
    return pl.DataFrame([tuple(row) for row in rows], schema=["user_id", "item_id"], orient="row")


def test_k_core_goes_on_until_nothing_falls():
    # dropping item z leaves user b with one interaction, which leaves x with one, which leaves a with one
    frame = pairs("ax", "ay", "bx", "bz", "cy", "cw", "dw", "dy")
    kept = k_core(frame, 2, 2)
    assert sorted(map("".join, kept.iter_rows())) == ["cw", "cy", "dw", "dy"]
    assert sorted(map("".join, one_pass(frame, 2, 2).iter_rows())) == ["ax", "ay", "bx", "cw", "cy", "dw", "dy"]


@pytest.mark.parametrize("seed", range(5))
def test_k_core_keeps_its_promise_and_all_that_can_stay(seed):
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame({"user_id": rng.integers(0, 30, 150), "item_id": rng.integers(0, 20, 150)}).unique()
    kept = k_core(frame, 3, 4)
    counts = [kept.group_by(column).len()["len"] for column in ("user_id", "item_id")]
    assert all((count >= least).all() for count, least in zip(counts, (3, 4), strict=True))
    assert k_core(kept, 3, 4).equals(kept)
    assert kept.height <= one_pass(frame, 3, 4).height


def test_first_only_keeps_the_first_of_each_pair():
    assert first_only(pairs("ax", "ay", "ax", "bx")).rows() == [("a", "x"), ("a", "y"), ("b", "x")]


def test_users_with_too_few_left_are_dropped_and_items_are_not_counted_again():
    assert long_enough(pairs("ax", "ay", "bx"), 2).rows() == [("a", "x"), ("a", "y")]


histories = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=25), min_size=1, max_size=12)


def frame(rows):
    """Interactions of users, one after the other; the time is the place in the whole."""
    flat = [(f"u{user}", f"i{item}", user, item) for user, items in enumerate(rows) for item in items]
    return pl.DataFrame(flat, schema=["user_id", "item_id", "user", "item"], orient="row").with_row_index("timestamp")


@settings(max_examples=40, deadline=None)
@given(histories, st.integers(1, 5), st.integers(1, 5))
def test_a_k_core_of_any_data_keeps_its_promise_and_whoever_could_stay(rows, min_user, min_item):
    whole = frame(rows)
    kept = k_core(whole, min_user, min_item)
    for column, least in (("user_id", min_user), ("item_id", min_item)):
        assert (kept.group_by(column).len()["len"] >= least).all()
    # any set of rows that keeps the promise lies within the core: peel in another order and compare
    left = whole
    while True:
        rare = left.group_by("item_id").len().filter(pl.col("len") < min_item)["item_id"]
        few = left.filter(~pl.col("item_id").is_in(rare.implode()))
        short = few.group_by("user_id").len().filter(pl.col("len") < min_user)["user_id"]
        peeled = few.filter(~pl.col("user_id").is_in(short.implode()))
        if peeled.height == left.height:
            break
        left = peeled
    assert kept.equals(left)
    assert set(kept["timestamp"]) <= set(one_pass(whole, min_user, min_item)["timestamp"])
