"""Scores of items for histories, and ranks of targets among them."""

import numpy as np
import pytest
import torch
from helpers import T, V, encode, sequences_of
from hypothesis import given, settings
from hypothesis import strategies as st
from llmesr.models import scoring
from llmesr.models.backbones import BACKBONES
from llmesr.models.scoring import Scorer, Scores, inference, rank, users_at_once, without


class Table(Scores):
    """Scores that are written down, a row for each history, which is named by its first item."""

    def __init__(self, rows):
        self.rows = torch.as_tensor(rows, dtype=torch.float32)

    def __call__(self, histories):
        return self.rows[[part[0].item() for part in histories]]


SCORES = Table([[0, 5, 3, 3, 1, 4]] * 2)  # of padding and items 1 … 5
HISTORIES = sequences_of([0], [1])


# --- ranks ---


def test_ranks_by_hand():
    # target 2 scores 3: item 1 above, item 3 equal, item 4 below; target 5 scores 4: item 4 below, two are missing
    negatives = np.array([[1, 3, 4], [4, 0, 0]])
    assert rank(SCORES, HISTORIES, np.array([2, 5]), 5, negatives=negatives).tolist() == [2.5, 1.0]
    # among all: above 2 are 1 and 5, equal is 3; above 5 is 1
    assert rank(SCORES, HISTORIES, np.array([2, 5]), 5).tolist() == [3.5, 2.0]


def test_what_was_seen_is_left_out_but_never_the_target():
    seen = sequences_of([1, 2], [4])
    assert rank(SCORES, HISTORIES, np.array([2, 5]), 5, seen=seen).tolist() == [2.5, 2.0]


def test_only_some_items_compete():
    only = torch.tensor([False, False, True, True, True, False])
    assert rank(SCORES, HISTORIES, np.array([2, 5]), 5, only=only).tolist() == [1.5, 1.0]
    assert rank(SCORES, HISTORIES, np.array([2, 5]), 5, only=only, seen=sequences_of([3], [1])).tolist() == [1.0, 1.0]


def test_missing_negatives_do_not_compete_whatever_padding_scores(build):
    table = Table([[9, 1, 2, 0]])
    assert rank(table, sequences_of([0]), np.array([1]), 3, negatives=np.array([[2, 0, 0]])).tolist() == [2.0]
    scorer, history = Scorer.of(build(method="base"), V, T), sequences_of([1, 2, 3])
    worst = scorer(history)[0, 1:].argmin() + 1
    assert scorer(history)[0, worst] < 0  # padding scores zero
    assert rank(scorer, history, np.array([worst]), V, negatives=np.zeros((1, 5), int)).tolist() == [1.0]


def test_a_model_of_nonsense_ranks_its_targets_last():
    nonsense = Table([[np.nan] * 4])
    assert rank(nonsense, sequences_of([0]), np.array([1]), 3, negatives=np.array([[2, 3]])).tolist() == [3.0]
    assert rank(nonsense, sequences_of([0]), np.array([1]), 3).tolist() == [3.0]
    other = Table([[0, 1, np.nan, 2]])  # one score is no number: it is taken for a better one
    assert rank(other, sequences_of([0]), np.array([1]), 3).tolist() == [3.0]


def test_nobody_has_no_ranks():
    assert rank(SCORES, sequences_of(), np.array([], int), 5).tolist() == []


scores = st.lists(st.lists(st.integers(-3, 3), min_size=8, max_size=8), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(scores, st.data())
def test_ranks_are_what_sorting_gives_and_ties_share_the_middle(rows, data):
    table = Table([[0, *row] for row in rows])
    histories = sequences_of(*[[row] for row in range(len(rows))])
    targets = np.array([data.draw(st.integers(1, 8)) for _ in rows])
    ranks = rank(table, histories, targets, 8)
    others = np.array([[v for v in range(1, 9) if v != target] for target in targets])
    assert (ranks == rank(table, histories, targets, 8, negatives=others)).all()
    for row, target, found in zip(rows, targets, ranks, strict=True):
        places = [place for place, score in enumerate(sorted(row, reverse=True), 1) if score == row[target - 1]]
        assert found == np.mean(places)


def test_padding_and_what_was_had_get_minus_infinity():
    found = without(torch.zeros(2, 4), sequences_of([1, 3], [2]))
    assert torch.isinf(found).tolist() == [[True, True, False, True], [True, False, True, False]]
    assert torch.isinf(without(torch.zeros(1, 3), None)).tolist() == [[True, False, False]]


# --- a method's scores ---


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("method", ["base", "llmesr"])
def test_a_score_is_the_product_of_the_last_state_and_the_items_vector(build, backbone, method):
    model = build(backbone, method).eval()
    scorer, history = Scorer.of(model, V, T), sequences_of([1, 2, 3], [7])
    query = history.append(V + 1) if backbone == "bert4rec" else history  # [MASK] asks
    expected = encode(model, query)[query.last] @ model.item_vectors(torch.arange(V + 1)).T
    torch.testing.assert_close(scorer(history), expected)
    candidates = torch.tensor([[4, 9, 1], [48, 2, 7]])
    torch.testing.assert_close(scorer.among(history, candidates), expected.gather(1, candidates))


def test_scores_that_are_no_product_are_gathered(build, sequences):
    model = build(method="dualmatch")
    with torch.no_grad():
        model.matcher.weights.fill_(0.3)
        model.matcher.popularity.normal_()
    scorer, history = Scorer.of(model, V, T), sequences_of([1, 2, 3])
    candidates = torch.tensor([[4, 9, 1]])
    torch.testing.assert_close(scorer.among(history, candidates), scorer(history).gather(1, candidates))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_only_the_latest_items_are_read(build, backbone):
    scorer, mask = Scorer.of(build(backbone), V, T), [V + 1] if backbone == "bert4rec" else []
    long, one = list(range(1, 31)), [5]
    latest = [long[-T + len(mask) :] + mask, one + mask]
    assert [part.tolist() for part in scorer.query(sequences_of(long, one))] == latest
    hidden = [long[-T + len(mask) - 1 : -1] + mask, ([] if mask else one) + mask]
    assert [part.tolist() for part in scorer.query(sequences_of(long, one), hide_last=True)] == hidden
    assert all(len(part) <= T for part in scorer.query(sequences_of(long, one), hide_last=True))


def test_blocks_do_not_change_states_or_ranks(build, data, monkeypatch):
    scorer, targets = Scorer.of(build(), V, T), data.validation

    def everything():
        histories = data.train.take(torch.tensor(targets.users, dtype=torch.int64))
        return (
            scorer.states(histories),
            rank(scorer, histories, targets.items, V, negatives=targets.negatives),
            rank(scorer, histories, targets.items, V, seen=histories),
        )

    whole = everything()
    monkeypatch.setattr(scoring, "BLOCK_USERS", 7)
    for one, other in zip(whole, everything(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_many_items_leave_room_for_fewer_users(monkeypatch):
    monkeypatch.setattr(scoring, "BLOCK_SCORES", 1000)
    monkeypatch.setattr(scoring, "BLOCK_USERS", 20)
    assert [users_at_once(n) for n in (10, 100, 5000)] == [20, 10, 1]


def test_inference_has_no_dropout_and_no_gradient_and_leaves_the_mode_as_it_was(build):
    model, history = build(), sequences_of([1, 2, 3])
    assert model.training
    with inference(model):
        assert not model.training
        assert not encode(model, history).requires_grad
    assert model.training
    first, again = (Scorer.of(model, V, T).states(history) for _ in range(2))
    assert torch.equal(first, again)
    with pytest.raises(RuntimeError), inference(model):
        raise RuntimeError
    assert model.training


def test_no_histories_have_no_states(build):
    assert Scorer.of(build(), V, T).states(sequences_of()).shape == (0, 64)
