"""DualMatch: lists of similar items, how they are pooled, how their weights are fitted."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import T, V, context_of, sequences_of
from llmesr.models.methods import dualmatch
from llmesr.models.methods.dualmatch import Matcher, SimilarItems
from llmesr.models.scoring import Scorer, rank
from llmesr.models.whitening import whiten
from llmesr.similarity import cooccurrence
from scipy.sparse import csr_matrix

# --- lists ---


def by_hand(similarity, history, how):
    rows = similarity[sorted(set(history))]
    return rows.max(0) if how == "amax" else rows.sum(0)


@pytest.mark.parametrize("how", ["amax", "sum"])
def test_pooling_equals_the_dense_computation_and_counts_an_item_once(how):
    rng = np.random.default_rng(0)
    similarity = rng.random((9, 9)) * (rng.random((9, 9)) < 0.5)
    similarity[0] = similarity[:, 0] = 0
    lists = SimilarItems(8, 9)
    lists.fill(csr_matrix(similarity))
    histories = [[1, 2, 2, 5], [8], [3, 4, 3]]
    found = lists.match(sequences_of(*histories), how)
    np.testing.assert_allclose(found, [by_hand(similarity, history, how) for history in histories], rtol=1e-5)


def test_a_list_keeps_the_largest_and_is_filled_anew():
    lists = SimilarItems(3, 2)
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
    for lists in (made.text, made.cooccurrence):
        dense = rng.random((31, 31)) * (rng.random((31, 31)) < 0.15)
        dense[0] = dense[:, 0] = 0
        lists.fill(csr_matrix(dense))
    made.set_popularity(torch.from_numpy(rng.zipf(1.5, 500).clip(max=30)))
    histories = sequences_of(*(rng.choice(np.arange(1, 31), size=4, replace=False).tolist() for _ in range(400)))
    return made, histories


def random_scores():
    return torch.randn(400, 31, generator=torch.Generator().manual_seed(1)) * 2


def answers_of(matcher, histories, scores, weights):
    """Draw held-out items as the weights say."""
    logits = torch.tensordot(weights, matcher.parts(scores, histories), 1)
    logits[histories.row, histories.items] = float("-inf")
    logits[:, 0] = float("-inf")
    return torch.multinomial(logits.softmax(1), 1, generator=torch.Generator().manual_seed(0)).squeeze(1)


def test_the_weights_that_made_the_answers_are_found_again(matcher):
    made, histories = matcher
    scores, true = random_scores(), torch.tensor([0.7, 3.0, 2.0, 0.5, 0.2, -1.0, 0.5])
    answers = answers_of(made, histories, scores, true)
    made.fit(scores.__getitem__, histories, answers, seed=0)
    torch.testing.assert_close(made.weights, true, atol=0.45, rtol=0)

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


def test_until_they_are_fitted_only_the_score_counts(matcher):
    made, histories = matcher
    scores = torch.randn(400, 31)
    assert torch.equal(made(scores, histories), scores)


def test_users_are_looked_at_in_blocks(matcher, monkeypatch):
    made, histories = matcher
    scores = random_scores()
    answers = answers_of(made, histories, scores, torch.tensor([1.0, 3.0, 3.0, 0.5, 0, 0, 0]))
    made.fit(scores.__getitem__, histories, answers, seed=0)
    whole, sizes = made.weights.clone(), []
    made.weights.copy_(F.one_hot(torch.tensor(0), 7))
    monkeypatch.setattr(dualmatch, "MOST_SCORES", 30 * 400)  # room for 400 users' 30 items, but not for 31 columns
    made.fit(lambda some: sizes.append(len(some)) or scores[some], histories, answers, seed=0)
    assert sizes == [387, 13]
    torch.testing.assert_close(made.weights, whole)


def test_what_tells_nothing_gets_no_weight(matcher):
    made, histories = matcher
    scores = random_scores()
    made.text.fill(csr_matrix((31, 31)))
    answers = answers_of(made, histories, scores, torch.tensor([1.0, 0, 0, 0, 0, 0, 0]))
    made.fit(scores.__getitem__, histories, answers, seed=0)
    assert made.weights[0].item() == pytest.approx(1, abs=0.15)
    assert made.weights[1].abs() < 1e-3
    assert made.weights[2].abs() < 0.5


def test_a_part_of_items_and_users_gives_nearly_the_same_weights(matcher, monkeypatch):
    made, histories = matcher
    scores, true = random_scores(), torch.tensor([1.0, 3.0, 3.0, 0.5, 0, 0, 0])
    answers = answers_of(made, histories, scores, true)
    monkeypatch.setattr(dualmatch, "MOST_COLUMNS", 15)
    monkeypatch.setattr(dualmatch, "MOST_SCORES", 15 * 300)
    made.fit(scores.__getitem__, histories, answers, seed=0)
    torch.testing.assert_close(made.weights[:3], true[:3], atol=0.6, rtol=0)


def test_popularity_is_standardised_over_items_without_the_padding():
    made = Matcher(3, 1)
    made.set_popularity(torch.tensor([1, 1, 1, 2]))  # counts 3, 1, 0
    logs = torch.tensor([4.0, 2.0, 1.0]).log()
    torch.testing.assert_close(made.popularity[1:], (logs - logs.mean()) / logs.std())


# --- the method ---


def test_items_start_as_their_text_and_differ_by_id_later(build):
    model = build(method="dualmatch")
    items = torch.arange(1, 20)
    text = model.table.adapter(F.embedding(items, model.table.text))
    torch.testing.assert_close(model.item_vectors(items), text)
    model.item_vectors(items).square().sum().backward()
    assert model.table.ids.weight.grad[1:20].any()
    assert "table.text" not in model.state_dict()


def test_texts_have_a_length_of_about_one_and_no_mean(build):
    text = build(method="dualmatch").table.text[1:-1]
    assert text.norm(dim=1).square().mean().item() == pytest.approx(1, rel=1e-4)
    torch.testing.assert_close(text.mean(0), torch.zeros(24), atol=1e-5, rtol=0)


def test_texts_are_centred_and_scaled_by_the_items_alone(build, inputs):
    texts = torch.from_numpy(inputs.item_embeddings[1:])
    away = texts - texts.mean(0)
    expected = away / away.square().sum(1).mean().sqrt()
    torch.testing.assert_close(build(method="dualmatch").table.text[1:-1], expected, atol=1e-5, rtol=1e-4)


def test_lists_hold_as_many_as_the_settings_say_of_the_nearest_others(build, sequences, inputs):
    model = build(method="dualmatch", changes={"methods.dualmatch.neighbours": 7})
    model.on_fit_end(context_of(model, sequences))
    vectors = whiten(inputs.item_embeddings[1:], power=0.75)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    shared = cooccurrence(sequences, V, V).toarray()[1:, 1:]
    for lists, likeness in ((model.matcher.text, unit @ unit.T), (model.matcher.cooccurrence, shared)):
        np.fill_diagonal(likeness, -1)
        best = -np.sort(-likeness, axis=1)[:, :7]
        assert lists.items.shape == (V + 1, 7)
        assert (best > 0).mean() > 0.9
        np.testing.assert_allclose(lists.values[1:], best.clip(min=0), atol=1e-5)
        there = lists.values[1:] > 0
        found = np.take_along_axis(likeness, lists.items[1:].long().numpy().clip(min=1) - 1, 1)
        np.testing.assert_allclose(found[there], lists.values[1:][there], atol=1e-5)


def test_matches_change_scores_and_ranks_only_after_the_end_of_training(build, sequences):
    model, histories = build(method="dualmatch").eval(), sequences.take(torch.arange(3))
    plain = Scorer.of(model, V, T)(histories)
    states = Scorer.of(model, V, T).states(histories)
    torch.testing.assert_close(plain, states @ model.item_vectors(torch.arange(V + 1)).T)
    model.on_fit_end(context_of(model, sequences))
    assert model.matcher.weights[1:].any()
    scorer = Scorer.of(model, V, T)
    scores = scorer(histories)
    torch.testing.assert_close(scores, model.matcher(plain, histories))
    targets, negatives = np.array([1, 2, 3]), np.array([[4, 5], [6, 7], [8, 9]])
    by_hand = [
        1 + sum(float(scores[i, n]) > float(scores[i, t]) for n in others)
        for i, (t, others) in enumerate(zip(targets, negatives, strict=True))
    ]
    assert rank(scorer, histories, targets, V, negatives=negatives).tolist() == by_hand
    full = [1 + int((scores[i, 1:] > scores[i, t]).sum()) for i, t in enumerate(targets)]
    assert rank(scorer, histories, targets, V).tolist() == full


@pytest.mark.parametrize(("part", "idle"), [("text", [1, 5]), ("cooccurrence", [2, 6]), ("popularity", [3, 4, 5, 6])])
def test_a_part_that_is_switched_off_has_no_say(build, sequences, part, idle):
    model = build(method="dualmatch", changes={f"methods.dualmatch.{part}": False})
    model.on_fit_end(context_of(model, sequences))
    assert not model.matcher.parts(torch.zeros(len(sequences), V + 1), sequences)[idle].any()
    assert not model.matcher.weights[idle].any()


def test_with_a_match_alone_the_most_similar_item_comes_first(build, sequences):
    model = build(method="dualmatch")
    model.on_fit_end(context_of(model, sequences))
    model.matcher.weights.copy_(torch.tensor([0.0, 1, 0, 0, 0, 0, 0]))
    similar = model.matcher.text
    best = similar.items[5][similar.values[5].argmax()].item()
    assert Scorer.of(model, V, T)(sequences_of([5])).argmax().item() == best


def test_new_items_are_matched_by_text_and_leave_the_known_ones_alone(build, sequences, inputs):
    model = build(method="dualmatch").eval()
    model.on_fit_end(context_of(model, sequences))
    model.matcher.weights.fill_(0.5)
    counts = torch.bincount(sequences.items, minlength=V + 1)[1:].numpy()
    twin = inputs.item_embeddings[[7]]  # a new item whose text is that of item 7
    grown = model.with_new_items(np.concatenate([inputs.item_embeddings[1:], twin]), counts, int(counts[6]))
    histories = sequences_of([7], [7, 9])
    parts, before = (m.matcher.parts(torch.zeros(2, n + 1), histories) for m, n in ((grown, V + 1), (model, V)))
    assert parts[1, 0].argmax() == V + 1
    torch.testing.assert_close(parts[2, :, : V + 1], before[2])  # co-occurrence is known of trained items only
    assert not parts[2, :, V + 1].any()
    torch.testing.assert_close(parts[3, :, V + 1], parts[3, :, 7])  # it is taken to be as popular as item 7
    assert len(model.matcher.popularity) == V + 1
