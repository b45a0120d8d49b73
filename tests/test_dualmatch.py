"""DualMatch: lists of items that are alike, how they are pooled, how their weights are fitted."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import changed, overview, ragged
from llmesr import evaluate, train
from llmesr.models import matching
from llmesr.models.matching import Lists, Matcher
from llmesr.models.scoring import full_ranks, item_table, recommend, represent, rescorer, sampled_ranks
from llmesr.prepare.dataset import Sequences, baskets
from llmesr.retrieve.items import alike_by_text, bought_together
from scipy.sparse import csr_matrix

# --- lists ---


def test_bought_together_is_the_cosine_of_columns_without_the_item_itself():
    train = Sequences(np.array([1, 2, 1, 2, 3, 3, 4]), np.array([0, 2, 5, 7]))
    has = baskets(train, 5).toarray()
    dense = has.T @ has
    norms = np.sqrt(np.maximum(np.diag(dense), 1))
    dense = dense / norms[:, None] / norms
    np.fill_diagonal(dense, 0)
    np.testing.assert_allclose(bought_together(train, 5, 5).toarray(), dense, rtol=1e-6)


def test_only_the_nearest_are_kept():
    rng = np.random.default_rng(0)
    train = Sequences(rng.integers(1, 31, 600), np.arange(0, 601, 6))
    whole, short = bought_together(train, 30, 30).toarray(), bought_together(train, 30, 4).toarray()
    assert (np.count_nonzero(short, axis=1)[1:] == 4).all()
    np.testing.assert_allclose(np.sort(short)[1:, -4:], np.sort(whole)[1:, -4:], rtol=1e-6)


def test_alike_by_text_starts_at_item_1_and_leaves_out_what_points_away():
    vectors = np.array([[1, 0], [1, 1], [-1, 0]], dtype=np.float32)
    expected = np.zeros((4, 4))
    expected[1, 2] = expected[2, 1] = 0.5**0.5
    np.testing.assert_allclose(alike_by_text(vectors, 2, 99).toarray(), expected, atol=1e-6)
    assert alike_by_text(vectors[:1], 2, 99).shape == (2, 2)


def by_hand(similarity, history, how):
    rows = similarity[sorted(set(history))]
    return rows.max(0) if how == "amax" else rows.sum(0)


@pytest.mark.parametrize("how", ["amax", "sum"])
def test_pooling_equals_the_dense_computation_and_counts_an_item_once(how):
    rng = np.random.default_rng(0)
    similarity = rng.random((9, 9)) * (rng.random((9, 9)) < 0.5)
    similarity[0] = similarity[:, 0] = 0
    lists = Lists(8, 9)
    lists.fill(csr_matrix(similarity))
    histories = [[1, 2, 2, 5], [8], [3, 4, 3]]
    found = lists.pooled(ragged(*histories), how)
    np.testing.assert_allclose(found, [by_hand(similarity, history, how) for history in histories], rtol=1e-5)


def test_a_list_keeps_the_largest_and_is_filled_anew():
    lists = Lists(3, 2)
    lists.fill(csr_matrix(np.array([[0, 0, 0, 0], [0, 0.1, 0.3, 0.2], [0, 0.5, 0, 0], [0, 0, 0, 0]])))
    assert lists.items[1].tolist() == [2, 3]
    lists.fill(csr_matrix((4, 4)))
    assert not lists.values.any()


# --- weights ---


@pytest.fixture
def matcher():
    """A matcher of 30 items with lists at random, the items' popularity and 400 histories."""
    rng = np.random.default_rng(0)
    made = Matcher(30, 5)
    for lists in (made.text, made.together):
        dense = rng.random((31, 31)) * (rng.random((31, 31)) < 0.15)
        dense[0] = dense[:, 0] = 0
        lists.fill(csr_matrix(dense))
    made.note_popularity(torch.from_numpy(rng.zipf(1.5, 500).clip(max=30)))
    histories = ragged(*(rng.choice(np.arange(1, 31), size=4, replace=False).tolist() for _ in range(400)))
    return made, histories


def answers_of(matcher, histories, scores, weights):
    """Draw held-out items as the weights say."""
    logits = torch.tensordot(weights, matcher.parts(scores, histories), 1)
    logits[histories.row, histories.items] = float("-inf")
    logits[:, 0] = float("-inf")
    return torch.multinomial(logits.softmax(1), 1, generator=torch.Generator().manual_seed(0)).squeeze(1)


def test_the_weights_that_made_the_answers_are_found_again(matcher):
    made, histories = matcher
    scores = torch.randn(400, 31, generator=torch.Generator().manual_seed(1)) * 2
    true = torch.tensor([0.7, 3.0, 2.0, 0.5, 0.2, -1.0, 0.5])
    answers = answers_of(made, histories, scores, true)
    made.fit(scores.__getitem__, histories, answers, seed=0)
    torch.testing.assert_close(made.weights, true, atol=0.45, rtol=0)
    assert made.is_fitted

    def unlikely(weights):
        logits = torch.tensordot(weights, made.parts(scores, histories), 1)
        had = torch.zeros_like(logits, dtype=torch.bool)
        had[histories.row, histories.items] = True
        had[:, 0] = True
        return F.cross_entropy(logits.masked_fill(had, float("-inf")), answers)

    best = made.weights.clone().requires_grad_()
    (slope,) = torch.autograd.grad(unlikely(best), best)
    torch.testing.assert_close(slope, torch.zeros(7), atol=2e-3, rtol=0)  # the most likely ones, all seven
    assert unlikely(made.weights) < unlikely(true)


def test_what_is_added_is_the_weighted_sum_of_the_parts(matcher):
    made, histories = matcher
    scores = torch.randn(400, 31)
    made.weights.copy_(torch.tensor([0.7, 3.0, 2.0, 0.5, 0.2, -1.0, 0.5]))
    plain = torch.tensordot(made.weights, made.parts(scores, histories), 1)
    torch.testing.assert_close(made(scores, histories), plain, atol=1e-5, rtol=1e-5)


def test_users_are_looked_at_in_blocks(matcher, monkeypatch):
    made, histories = matcher
    scores = torch.randn(400, 31, generator=torch.Generator().manual_seed(1)) * 2
    answers = answers_of(made, histories, scores, torch.tensor([1.0, 3.0, 3.0, 0.5, 0, 0, 0]))
    made.fit(scores.__getitem__, histories, answers, seed=0)
    whole, sizes = made.weights.clone(), []
    made.weights.copy_(F.one_hot(torch.tensor(0), 7))
    monkeypatch.setattr(matching, "MOST_SCORES", 30 * 400)  # room for 400 users' 30 items, but not for 31 columns
    made.fit(lambda some: sizes.append(len(some)) or scores[some], histories, answers, seed=0)
    assert sizes == [387, 13]
    torch.testing.assert_close(made.weights, whole)


def test_what_tells_nothing_gets_no_weight(matcher):
    made, histories = matcher
    scores = torch.randn(400, 31, generator=torch.Generator().manual_seed(1)) * 2
    made.text.fill(csr_matrix((31, 31)))
    made.fit(
        scores.__getitem__,
        histories,
        answers_of(made, histories, scores, torch.tensor([1.0, 0, 0, 0, 0, 0, 0])),
        seed=0,
    )
    assert made.weights[0].item() == pytest.approx(1, abs=0.15)
    assert made.weights[1].abs() < 1e-3
    assert made.weights[2].abs() < 0.5


def test_a_part_of_items_and_users_gives_nearly_the_same_weights(matcher, monkeypatch):
    made, histories = matcher
    scores = torch.randn(400, 31, generator=torch.Generator().manual_seed(1)) * 2
    true = torch.tensor([1.0, 3.0, 3.0, 0.5, 0, 0, 0])
    answers = answers_of(made, histories, scores, true)
    monkeypatch.setattr(matching, "MOST_COLUMNS", 15)
    monkeypatch.setattr(matching, "MOST_SCORES", 15 * 300)
    made.fit(scores.__getitem__, histories, answers, seed=0)
    torch.testing.assert_close(made.weights[:3], true[:3], atol=0.6, rtol=0)


def test_until_it_is_fitted_only_the_score_counts(matcher):
    made, histories = matcher
    scores = torch.randn(400, 31)
    assert not made.is_fitted
    torch.testing.assert_close(made(scores, histories), scores)


# --- the method ---


def test_items_start_as_their_text_and_differ_by_id_later(build):
    model = build(method="dualmatch")
    items = torch.arange(1, 20)
    text = model.table.adapter(F.embedding(items, model.table.text))
    torch.testing.assert_close(model.item_vectors(items), text)
    model.item_vectors(items).square().sum().backward()
    assert model.table.ids.weight.grad[1:20].any()
    assert "table.text" not in dict(model.named_parameters())


def test_matches_change_ranks_only_after_the_end_of_training(build, sequences):
    model = build(method="dualmatch")
    assert rescorer(model, sequences) is None
    model.finish(overview(model, sequences))
    assert model.matcher.is_fitted
    states = represent(model, sequences, torch.arange(3), 48, 20)
    table = item_table(model, 48)
    histories = sequences.take(torch.arange(3), 99)
    rescore = rescorer(model, histories)
    expected = model.matcher(states @ table.T, histories)
    torch.testing.assert_close(rescore(states @ table.T, slice(0, 3)), expected)
    torch.testing.assert_close(rescore(states[1:] @ table.T, slice(1, 3)), expected[1:])
    targets, negatives = np.array([1, 2, 3]), np.array([[4, 5], [6, 7], [8, 9]])
    ranks = sampled_ranks(states, table, targets, negatives, rescore)
    by_scores = [
        1 + sum(float(expected[i, n]) > float(expected[i, t]) for n in negatives[i]) for i, t in enumerate(targets)
    ]
    assert ranks.tolist() == by_scores
    full = full_ranks(states, table, targets, None, rescore)
    assert full.tolist() == [1 + int((expected[i, 1:] > expected[i, t]).sum()) for i, t in enumerate(targets)]


@pytest.mark.parametrize("part", ["text", "together", "popularity"])
def test_a_part_that_is_switched_off_has_no_say(build, sequences, part):
    model = build(method="dualmatch", **{f"methods__dualmatch__{part}": False})
    model.finish(overview(model, sequences))
    idle = {"text": [1, 5], "together": [2, 6], "popularity": [3, 4, 5, 6]}[part]
    scores = torch.zeros(len(sequences.lengths), 49)
    parts = model.matcher.parts(scores, sequences)
    assert not parts[idle].any()
    assert not model.matcher.weights[idle].any()


def test_recommendations_are_by_what_is_matched(build, sequences):
    model = build(method="dualmatch").eval()
    model.finish(overview(model, sequences))
    model.matcher.weights.copy_(torch.tensor([0.0, 1, 0, 0, 0, 0, 0]))
    history = ragged([5])
    alike = model.matcher.text
    best = alike.items[5][alike.values[5].argmax()].item()
    assert recommend(model, history, 48, 1, 200) == [best]


@pytest.mark.parametrize("backbone", ["sasrec", "bert4rec", "gru4rec"])
def test_a_saved_run_matches_as_it_did(tiny, data, embeddings, similar, backbone):
    settings = changed(tiny, train__epochs=1)
    made = train.run(settings, data, embeddings, similar, backbone, "dualmatch", 1)
    loaded = train.load(settings, embeddings, similar, backbone, "dualmatch", 1)
    assert loaded.model.matcher.is_fitted
    for name, value in made.model.state_dict().items():
        assert torch.equal(value, loaded.model.state_dict()[name]), name
    split = evaluate.read_test_split(data, torch.device("cpu"))
    ranks = [evaluate.judge(run, split, data, settings).ranks for run in (made, loaded)]
    for protocol in ranks[0]:
        np.testing.assert_array_equal(ranks[0][protocol], ranks[1][protocol])
