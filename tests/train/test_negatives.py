"""Negatives: never had, drawn uniformly for a user or by popularity for all."""

import pytest
import torch
from helpers import V, sequences_of
from hypothesis import given, settings
from hypothesis import strategies as st
from llmesr.train import negatives
from llmesr.train.negatives import NegativeSampler


def test_they_were_never_had_and_everything_else_has_its_turn(sequences):
    users = torch.arange(len(sequences)).repeat(50)
    drawn = NegativeSampler(sequences, V).draw(users, 3)
    assert drawn.min() >= 1
    assert drawn.max() <= V
    for user, items in zip(users.tolist(), drawn.tolist(), strict=True):
        assert not set(items) & set(sequences[user].tolist())
    assert len(drawn.unique()) == V


def test_the_same_is_drawn_whether_a_table_or_a_search_tells_what_was_had(sequences, monkeypatch):
    users, drawn = torch.arange(len(sequences)).repeat(5), []
    for most in (0, negatives.MOST_PAIRS):
        monkeypatch.setattr(negatives, "MOST_PAIRS", most)
        torch.manual_seed(0)
        drawn.append(NegativeSampler(sequences, V).draw(users, 7))
    assert torch.equal(*drawn)


def test_a_user_who_had_everything_gets_anything():
    sampler = NegativeSampler(sequences_of([1, 2, 3, 3], [1]), 3)
    drawn = sampler.draw(torch.tensor([0] * 50 + [1] * 50), 1).ravel()
    assert set(drawn[:50].tolist()) <= {1, 2, 3}
    assert set(drawn[50:].tolist()) == {2, 3}


@pytest.mark.parametrize(("had", "n_items"), [(1, 3), (28, 30)])
def test_what_is_left_is_drawn_evenly_at_once_and_again(had, n_items):
    """Two items are left: of three items one draw in three is drawn again, of thirty nearly all are."""
    torch.manual_seed(0)
    sampler = NegativeSampler(sequences_of(list(range(1, had + 1))), n_items)
    drawn = sampler.draw(torch.zeros(4000, dtype=torch.int64), 1).flatten()
    assert torch.bincount(drawn)[had + 1 :] / 4000 == pytest.approx(torch.tensor([0.5, 0.5]), abs=0.04)


def test_negatives_for_all_are_drawn_by_popularity():
    torch.manual_seed(0)
    sampler = NegativeSampler(sequences_of([1, 1, 2], [1]), 3)  # counts 3, 1, 0
    assert sampler.proposal.tolist() == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    drawn = sampler.draw_for_all(20_000)
    assert torch.bincount(drawn)[1:] / 20_000 == pytest.approx(sampler.proposal, abs=0.02)


histories = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=25), min_size=1, max_size=12)


@settings(max_examples=30, deadline=None)
@given(histories, st.integers(1, 5))
def test_whatever_was_had_is_not_drawn(rows, count):
    drawn = NegativeSampler(sequences_of(*rows), 30).draw(torch.arange(len(rows)), count)
    for row, had in zip(drawn.tolist(), rows, strict=True):
        assert len(set(had)) == 30 or not set(row) & set(had)
