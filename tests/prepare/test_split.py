"""Splits: leave-one-out, temporal, and the fixed negatives."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmesr.errors import InputError
from llmesr.prepare.split import cut, draw_negatives, leave_one_out, temporal


def numbered(*sequences):
    rows = [(user, item, f"u{user}") for user, items in enumerate(sequences) for item in items]
    return pl.DataFrame(rows, schema=["user", "item", "user_id"], orient="row")


def test_leave_one_out_by_hand():
    split = leave_one_out(numbered([5, 6, 7, 8], [1, 2, 3]), "error")
    assert split.train.rows() == [(0, 5), (0, 6), (1, 1)]
    assert split.validation.rows() == [(0, 7), (1, 2)]
    assert split.test.rows() == [(0, 8), (1, 3)]


def test_short_users_are_an_error_or_train_only():
    frame = numbered([5, 6], [1, 2, 3])
    with pytest.raises(InputError, match=r"user 'u0' has 2 interactions.*min_user: 3"):
        leave_one_out(frame, "error")
    split = leave_one_out(frame, "train_only")
    assert split.train.rows() == [(0, 5), (0, 6), (1, 1)]
    assert split.test.rows() == [(1, 3)]


def test_what_is_known_at_test_time_is_all_that_came_before():
    split = leave_one_out(numbered([5, 6, 7, 8], [1, 2, 3]), "error")
    assert split.known["item"].to_list() == [5, 6, 7, 1, 2]


def test_temporal_split_by_hand():
    """User 0 acts in all three times, user 1 not between, user 2 not after; what lies between is known, not learned."""
    frame = pl.DataFrame(
        {
            "user": [0, 0, 0, 0, 0, 1, 1, 2, 2],
            "item": [1, 2, 3, 4, 5, 6, 7, 8, 9],
            "timestamp": [1, 10, 12, 20, 25, 3, 21, 2, 11],
        }
    )
    split = temporal(frame, (10, 20))
    assert split.train.rows() == [(0, 1), (1, 6), (2, 8)]
    assert split.validation.rows() == [(0, 2), (2, 9)]
    assert split.test.rows() == [(0, 4), (1, 7)]
    assert split.known.rows() == [(0, 1), (0, 2), (0, 3), (1, 6), (2, 8), (2, 9)]
    assert cut(pl.DataFrame({"timestamp": [5, 1, 4, 2, 3]}), (0.4, 0.8)) == (3, 5)


def test_a_point_in_time_belongs_to_what_it_begins():
    """User 0 goes from training to the second point, user 1 through both points."""
    times = {"user": [0, 0, 1, 1, 1], "item": [1, 2, 3, 4, 5], "timestamp": [1, 20, 3, 10, 20]}
    split = temporal(pl.DataFrame(times), (10, 20))
    assert split.train.rows() == [(0, 1), (1, 3)]
    assert split.validation.rows() == [(1, 4)]
    assert split.test.rows() == [(0, 2), (1, 5)]
    assert split.known.rows() == [(0, 1), (1, 3), (1, 4)]


# --- negatives ---


def test_negatives_are_distinct_and_never_touched():
    rng = np.random.default_rng(0)
    seen = [np.unique(rng.integers(1, 61, size)) for size in (0, 1, 10, 40, 60)]
    drawn = draw_negatives(np.arange(5), seen, 60, 20, rng)
    for row, touched in zip(drawn, seen, strict=True):
        real = row[row > 0]
        assert len(set(real)) == len(real) == min(20, 60 - len(touched))
        assert not set(real) & set(touched)
        assert real.size == 0 or (real.min() >= 1 and real.max() <= 60)


def test_negatives_are_uniform_over_the_unseen():
    seen = [np.array([1, 2, 5, 9])]
    drawn = draw_negatives(np.zeros(6000, int), seen, 10, 1, np.random.default_rng(1)).ravel()
    items, counts = np.unique(drawn, return_counts=True)
    assert items.tolist() == [3, 4, 6, 7, 8, 10]
    assert abs(counts - 1000).max() < 130  # 4.5 standard deviations


# --- any data ---

V = 30
histories = st.lists(st.lists(st.integers(1, V), min_size=1, max_size=25), min_size=1, max_size=12)


def frame(rows):
    """Interactions of users, one after the other; the time is the place in the whole."""
    flat = [(f"u{user}", f"i{item}", user, item) for user, items in enumerate(rows) for item in items]
    return pl.DataFrame(flat, schema=["user_id", "item_id", "user", "item"], orient="row").with_row_index("timestamp")


@settings(max_examples=40, deadline=None)
@given(histories)
def test_leave_one_out_gives_every_interaction_one_place_in_the_order_of_time(rows):
    split = leave_one_out(frame(rows), "train_only")
    for user, items in enumerate(rows):
        parts = [part.filter(user=user)["item"].to_list() for part in (split.train, split.validation, split.test)]
        assert [item for part in parts for item in part] == items
        assert [len(part) for part in parts[1:]] == ([1, 1] if len(items) >= 3 else [0, 0])
        assert split.known.filter(user=user)["item"].to_list() == parts[0] + parts[1]


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(20)), st.floats(0.1, 0.5), st.floats(0.55, 0.95))
def test_a_temporal_split_learns_nothing_from_after_its_cuts(times, begin, end):
    whole = frame([[1, 2, 3, 4, 5]] * 4).with_columns(pl.Series("timestamp", times)).sort("user", "timestamp")
    cuts = cut(whole, (begin, end))
    split = temporal(whole, cuts)
    when = {(user, item): time for time, _, _, user, item in whole.rows()}
    assert all(when[pair] < cuts[0] for pair in split.train.rows())
    assert all(cuts[0] <= when[pair] < cuts[1] for pair in split.validation.rows())
    assert all(when[pair] >= cuts[1] for pair in split.test.rows())
    assert all(when[pair] < cuts[1] for pair in split.known.rows())


@settings(max_examples=40, deadline=None)
@given(histories, st.integers(1, 40), st.integers(0, 2**31))
def test_negatives_are_distinct_unseen_and_as_many_as_there_can_be(rows, negatives, seed):
    seen = [np.unique(items) for items in rows]
    drawn = draw_negatives(np.arange(len(rows)), seen, V, negatives, np.random.default_rng(seed))
    for row, touched in zip(drawn, seen, strict=True):
        real = row[row > 0]
        assert len(set(real)) == len(real) == min(negatives, V - len(touched))
        assert not set(real) & set(touched)
        assert ((real >= 1) & (real <= V)).all()


def test_the_cuts_are_shares_of_interactions_and_not_of_points_in_time():
    interactions = pl.DataFrame({"timestamp": [1, 1, 1, 1, 1, 1, 2, 3, 4, 5]})
    assert cut(interactions, (0.5, 0.8)) == (1, 4)
