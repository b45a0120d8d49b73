"""DualMatch: an item's vector, and its matches at the end."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import T, V, context_of, sequences_of
from llmesr.models.scoring import Scorer, rank
from llmesr.models.whitening import whiten
from llmesr.similarity import transitions


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
    shared = transitions(sequences, V, V).toarray()[1:, 1:]
    for lists, likeness in ((model.matcher.text, unit @ unit.T), (model.matcher.transitions, shared)):
        np.fill_diagonal(likeness, -1)
        best = -np.sort(-likeness, axis=1)[:, :7]
        assert lists.items.shape == (V + 1, 7)
        assert (best > 0).mean() > 0.5
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


IDLE = {"text": [1, 2, 7, 8], "transitions": [3, 9], "users": [4, 10], "popularity": [5, 6, 7, 8, 9, 10]}


@pytest.mark.parametrize(("part", "idle"), IDLE.items())
def test_a_part_that_is_switched_off_has_no_say(build, sequences, part, idle):
    model = build(method="dualmatch", changes={f"methods.dualmatch.{part}": False})
    model.on_fit_end(context_of(model, sequences))
    assert not model.matcher.weights[idle].any()
    others = [number for number in range(11) if number not in idle]
    assert model.matcher.weights[others].all()


def test_with_a_match_alone_the_most_similar_item_comes_first(build, sequences):
    model = build(method="dualmatch")
    model.on_fit_end(context_of(model, sequences))
    model.matcher.weights.copy_(F.one_hot(torch.tensor(1), 11))
    similar = model.matcher.text
    best = similar.items[5][similar.values[5].argmax()].item()
    assert Scorer.of(model, V, T)(sequences_of([5])).argmax().item() == best


def test_validation_judges_each_half_by_the_other_ones_weights(build, sequences):
    model = build(method="dualmatch").eval()
    context = context_of(model, sequences)
    model.on_fit_end(context)
    (even, for_even), (odd, for_odd) = model.for_validation(torch.tensor([0, 3, 4, 7]))
    assert (even.tolist(), odd.tolist()) == ([0, 2], [1, 3])
    assert torch.equal(for_even.matcher.weights, model.matcher.halves[0])
    assert torch.equal(for_odd.matcher.weights, model.matcher.halves[1])
    assert not torch.equal(model.matcher.halves[0], model.matcher.halves[1])
    histories = sequences.take(torch.arange(3))
    before = Scorer.of(model, V, T)(histories)
    assert not torch.allclose(Scorer.of(for_even, V, T)(histories), before)
    assert torch.equal(Scorer.of(model, V, T)(histories), before)  # the model itself is as it was


def test_new_items_are_matched_by_text_and_leave_the_known_ones_alone(build, sequences, inputs):
    model = build(method="dualmatch").eval()
    model.on_fit_end(context_of(model, sequences))
    model.matcher.weights.fill_(0.5)
    counts = torch.bincount(sequences.items, minlength=V + 1)[1:].numpy()
    twin = inputs.item_embeddings[[7]]  # a new item whose text is that of item 7
    grown = model.with_new_items(np.concatenate([inputs.item_embeddings[1:], twin]), counts, int(counts[6]))
    histories = sequences_of([7], [7, 9])
    (nearest, _, follow, users), before = (m.matcher.matches(histories) for m in (grown, model))
    assert nearest[0].argmax() == V + 1
    for after, known in ((follow, before[2]), (users, before[3])):  # which are known of trained items only
        torch.testing.assert_close(after[:, : V + 1], known)
        assert not after[:, V + 1].any()
    popular = grown.matcher.popularity
    torch.testing.assert_close(popular[V + 1], popular[7])  # it is taken to be as popular as item 7
    assert len(model.matcher.popularity) == V + 1
