"""Matches: lists of similar items, similar users, and how their weights are fitted."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import T, V, context_of, sequences_of
from llmesr.models import matching
from llmesr.models.base import TrainContext
from llmesr.models.matching import Matcher, MatchSettings, SimilarItems, SimilarUsers, weighted
from llmesr.similarity import text_similarity
from scipy.sparse import csr_matrix

# --- similar items ---


@pytest.fixture
def lists():
    """Lists of all similar items, and the matrix that they are of."""
    rng = np.random.default_rng(0)
    similarity = rng.random((9, 9)) * (rng.random((9, 9)) < 0.5)
    similarity[0] = similarity[:, 0] = 0
    made = SimilarItems(8, 9)
    made.fill(csr_matrix(similarity))
    return made, similarity


def test_the_nearest_counts(lists):
    made, similarity = lists
    histories = [[1, 2, 2, 5], [8], [3, 4, 3]]
    expected = [similarity[history].max(0) for history in histories]
    np.testing.assert_allclose(made.nearest(sequences_of(*histories)), expected, rtol=1e-5)


def test_the_latest_counts_most(lists):
    made, similarity = lists
    found = made.recent(sequences_of([1, 2, 5], [8]))
    np.testing.assert_allclose(found[0], similarity[5] + similarity[2] / 2 + similarity[1] / 3, rtol=1e-5)
    np.testing.assert_allclose(found[1], similarity[8], rtol=1e-5)


def test_a_list_keeps_the_largest_and_is_filled_anew():
    lists = SimilarItems(3, 2)
    lists.fill(csr_matrix(np.array([[0, 0, 0, 0], [0, 0.1, 0.3, 0.2], [0, 0.5, 0, 0], [0, 0, 0, 0]])))
    assert lists.items[1].tolist() == [2, 3]
    lists.fill(csr_matrix((4, 4)))
    assert not lists.values.any()


# --- similar users ---

TRAINED = ([1, 2], [2, 3, 3], [4], [1, 2, 5])
"""Items 1 to 5 occur 2, 3, 2, 1 and 1 times."""


def users_by_hand(history, similar=9):
    counts = np.array([1, 2, 3, 2, 1, 1])
    wanted = np.zeros(6)
    for place, item in enumerate(reversed(history), start=1):
        wanted[item] += 1 / place / counts[item] ** 0.5
    similarity = []
    for user in TRAINED:
        had = np.zeros(6)
        had[list(set(user))] = counts[list(set(user))] ** -0.5
        similarity.append(wanted @ had / np.linalg.norm(wanted) / np.linalg.norm(had))
    scores = np.zeros(6)
    for user in np.argsort(similarity)[::-1][:similar]:
        if not set(TRAINED[user]) <= set(history):
            scores[list(set(TRAINED[user]))] += similarity[user]
    return scores


@pytest.mark.parametrize("similar", [9, 2])
def test_similar_users_by_hand(similar):
    users = SimilarUsers(5, similar)
    users.fill(sequences_of(*TRAINED), 10, 0)
    histories = [[1, 2], [2, 1], [3], [5, 4, 2]]
    expected = [users_by_hand(history, similar) for history in histories]
    np.testing.assert_allclose(users.match(sequences_of(*histories)), expected, atol=1e-6)
    assert similar == 2 or not np.allclose(expected[0], expected[1])  # the order counts


def test_of_many_users_some_are_compared():
    users, some = SimilarUsers(5, 9), SimilarUsers(5, 9)
    users.fill(sequences_of(*TRAINED), 4, 0)
    some.fill(sequences_of(*TRAINED), 2, 0)
    assert (len(users.items), len(some.items)) == (4, 2)
    assert set(map(tuple, some.items.tolist())) <= set(map(tuple, users.items[:, : some.items.shape[1]].tolist()))
    torch.testing.assert_close(some.rarity, users.rarity)  # popularity is that of all


def test_of_a_long_history_the_latest_items_are_read(monkeypatch):
    users = SimilarUsers(5, 9)
    monkeypatch.setattr(matching, "READ", 2)
    users.fill(sequences_of(*TRAINED), 10, 0)
    assert [sorted(set(row) - {0}) for row in users.items.tolist()] == [[1, 2], [3], [4], [2, 5]]


def test_similar_users_are_loaded_again_however_many_they_are():
    users, other = SimilarUsers(5, 9), SimilarUsers(5, 9)
    users.fill(sequences_of(*TRAINED), 10, 0)
    other.load_state_dict(users.state_dict())
    histories = sequences_of([1, 2], [3])
    assert torch.equal(other.match(histories), users.match(histories))


# --- weights ---

TRUE = torch.tensor([0.7, 2.0, 1.5, 2.0, 1.0, 0.5, 0.2, -1.0, 0.5, 0.5, -0.5])


@pytest.fixture
def matcher():
    """A matcher of 30 items with lists at random, the items' popularity and 400 histories."""
    rng = np.random.default_rng(0)
    made = Matcher(30, MatchSettings(neighbours=5))
    for lists in (made.text, made.transitions):
        dense = rng.random((31, 31)) * (rng.random((31, 31)) < 0.15)
        dense[0] = dense[:, 0] = 0
        lists.fill(csr_matrix(dense))
    histories = sequences_of(*(rng.choice(np.arange(1, 31), size=4, replace=False).tolist() for _ in range(400)))
    made.users.fill(histories, 50, 0)
    made.popularity[1:] = torch.from_numpy(rng.normal(size=30))
    return made, histories


def random_scores():
    return torch.randn(400, 31, generator=torch.Generator().manual_seed(1)) * 2


def total(made, histories, scores, weights):
    """The weighted sum over all eleven parts, written out."""
    p = made.popularity.expand_as(scores)
    matches = made.matches(histories)
    parts = [scores, *matches, p, p**2, *(match * p for match in matches)]
    return torch.tensordot(weights, torch.stack(parts), 1)


def answers_of(made, histories, scores, weights):
    """Draw held-out items as the weights say."""
    logits = total(made, histories, scores, weights)
    logits[histories.row, histories.items] = float("-inf")
    logits[:, 0] = float("-inf")
    return torch.multinomial(logits.softmax(1), 1, generator=torch.Generator().manual_seed(0)).squeeze(1)


def fitted(made, histories, scores, answers):
    return made.fit(scores.__getitem__, histories, answers, [torch.ones(400, dtype=torch.bool)], seed=0)[0]


def test_what_is_added_is_the_weighted_sum_of_the_parts(matcher):
    made, histories = matcher
    scores = torch.randn(400, 31)
    made.weights.copy_(TRUE)
    torch.testing.assert_close(made(scores, histories), total(made, histories, scores, TRUE), atol=1e-5, rtol=1e-5)


def test_named_contributions_sum_to_the_score(matcher):
    made, histories = matcher
    made.weights.copy_(TRUE)
    one, nothing = histories.take(torch.tensor([3])), torch.zeros(1, 31)
    parts = made.contributions(one)
    assert set(parts) == {"popularity", *(f"match by {name}" for name in matching.MATCHES)}
    torch.testing.assert_close(sum(parts.values()), made(nothing, one)[0], atol=1e-5, rtol=1e-5)
    p = made.popularity
    torch.testing.assert_close(parts["match by transitions"], made.matches(one)[2][0] * (2.0 + 0.5 * p))


def test_the_weights_that_made_the_answers_are_found_again(matcher):
    made, histories = matcher
    scores = random_scores()
    answers = answers_of(made, histories, scores, TRUE)
    found = fitted(made, histories, scores, answers)
    torch.testing.assert_close(found[:4], TRUE[:4], atol=0.6, rtol=0)

    def unlikely(weights):
        logits = total(made, histories, scores, weights)
        had = torch.zeros_like(logits, dtype=torch.bool)
        had[histories.row, histories.items] = True
        had[:, 0] = True
        return F.cross_entropy(logits.masked_fill(had, float("-inf")), answers)

    best = found.clone().requires_grad_()
    (slope,) = torch.autograd.grad(unlikely(best), best)
    torch.testing.assert_close(slope, torch.zeros(11), atol=2e-3, rtol=0)  # the most likely ones, all eleven
    assert unlikely(found) < unlikely(TRUE)


def test_until_they_are_fitted_only_the_score_counts(matcher):
    made, histories = matcher
    scores = torch.randn(400, 31)
    assert torch.equal(made(scores, histories), scores)


def test_users_are_looked_at_in_blocks(matcher, monkeypatch):
    made, histories = matcher
    scores, sizes = random_scores(), []
    answers = answers_of(made, histories, scores, TRUE)
    monkeypatch.setattr(matching, "MOST_COLUMNS", 15)
    whole = fitted(made, histories, scores, answers)
    monkeypatch.setattr(matching, "MOST_SCORES", 15 * 400)  # room for 400 users' 15 items, but not for all 31 at once
    use = torch.ones(400, dtype=torch.bool)
    (found,) = made.fit(lambda some: sizes.append(len(some)) or scores[some], histories, answers, [use], seed=0)
    assert sizes == [193, 193, 14]
    torch.testing.assert_close(found, whole)


def test_who_is_not_to_be_used_has_no_influence(matcher):
    made, histories = matcher
    scores, use = random_scores(), torch.arange(400) < 300
    answers = answers_of(made, histories, scores, TRUE)
    (one,) = made.fit(scores.__getitem__, histories, answers, [use], seed=0)
    (other,) = made.fit(scores.__getitem__, histories, torch.where(use, answers, 1), [use], seed=0)
    assert torch.equal(one, other)
    everybody, part = made.fit(scores.__getitem__, histories, answers, [torch.ones(400, dtype=torch.bool), use], seed=0)
    torch.testing.assert_close(part, one, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(everybody, one, atol=1e-2)


def test_what_tells_nothing_gets_no_weight(matcher):
    made, histories = matcher
    scores = random_scores()
    made.text.fill(csr_matrix((31, 31)))
    answers = answers_of(made, histories, scores, F.one_hot(torch.tensor(0), 11).float())
    found = fitted(made, histories, scores, answers)
    assert found[0].item() == pytest.approx(1, abs=0.15)
    assert found[[1, 2, 7, 8]].abs().max() < 1e-3


def test_a_part_of_items_and_users_gives_nearly_the_same_weights(matcher, monkeypatch):
    made, histories = matcher
    scores = random_scores()
    answers = answers_of(made, histories, scores, TRUE)
    whole = fitted(made, histories, scores, answers)
    monkeypatch.setattr(matching, "MOST_COLUMNS", 15)
    monkeypatch.setattr(matching, "MOST_SCORES", 15 * 300)
    torch.testing.assert_close(fitted(made, histories, scores, answers)[:2], whole[:2], atol=1.5, rtol=0)


def test_popularity_is_standardised_over_items_without_the_padding(build):
    model = build(method="linear")
    train = sequences_of([1, 1, 1, 2], [2, 3, 5])
    model.on_fit_end(context_of(model, train))
    logs = torch.bincount(train.items, minlength=49)[1:].float().log1p()
    torch.testing.assert_close(model.matcher.popularity[1:], (logs - logs.mean()) / logs.std())


def test_each_half_is_fitted_to_the_other_one(build, sequences, monkeypatch):
    model, asked = build(method="linear"), []
    monkeypatch.setattr(
        Matcher,
        "fit",
        lambda self, score, histories, targets, groups, seed: (
            asked.extend(group.tolist() for group in groups) or [self.weights + number for number in (1, 2, 3)]
        ),
    )
    model.on_fit_end(context_of(model, sequences))
    assert asked == [[True] * 3, [False, True, False], [True, False, True]]
    assert model.matcher.weights[5] == 1
    assert model.matcher.halves[:, 5].tolist() == [2, 3]


def test_a_half_without_users_has_the_weights_of_all(matcher):
    made, histories = matcher
    everybody, nobody = torch.ones(400, dtype=torch.bool), torch.zeros(400, dtype=torch.bool)
    answers = answers_of(made, histories, random_scores(), TRUE)
    found = made.fit(random_scores().__getitem__, histories, answers, [everybody, nobody], seed=0)
    assert torch.equal(*found)


def test_weights_of_what_is_not_there_do_not_matter():
    scores, nothing = torch.randn(2, 5), torch.zeros(2, 5)
    torch.testing.assert_close(weighted(TRUE, scores, [nothing] * 4, nothing), 0.7 * scores)


def test_compared_users_are_drawn_by_the_seed_and_as_many_as_asked_for(sequences):
    def compared(most, seed):
        users = SimilarUsers(V, similar=5)
        users.fill(sequences, most, seed)
        return users.items

    assert len(compared(10, 0)) == 10
    assert torch.equal(compared(10, 0), compared(10, 0))
    assert compared(10, 0).tolist() != compared(10, 1).tolist()


def test_the_settings_say_how_many_users_are_compared_and_how_texts_are_whitened(sequences, embeddings):
    texts = embeddings.items[1:]

    def matcher(**changes):
        made = Matcher(V, MatchSettings(**changes))
        made.learn(texts, lambda rows: torch.randn(len(rows), V + 1), context_of_matches(sequences))
        return made

    assert len(matcher(compared_users=7).users.items) == 7
    assert not torch.equal(matcher(whitening=0.0).text.values, matcher(whitening=1.0).text.values)


def context_of_matches(sequences):
    """The end of training, with the first item of some users as their validation items."""
    users = torch.arange(20)
    items = torch.stack([part[0] for part in list(sequences)[:20]])
    return TrainContext(0, 3, sequences, None, None, T, users, items)


def test_a_catalogue_of_one_item_has_no_similar_ones_and_a_popularity():
    alone = Matcher(1, MatchSettings())
    one = sequences_of([1], [1, 1])
    alone.learn(
        np.ones((1, 4), np.float32),
        lambda rows: torch.zeros(len(rows), 2),
        TrainContext(0, 0, one, None, None, T, torch.tensor([0]), torch.tensor([1])),
    )
    assert torch.isfinite(alone.popularity).all()
    assert torch.isfinite(alone.with_new_items(np.ones((2, 4), np.float32), np.array([3]), 0).popularity).all()
    assert text_similarity(np.ones((1, 4), np.float32), 5, 100).nnz == 0
