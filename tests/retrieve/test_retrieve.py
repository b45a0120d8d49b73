"""Stage 03: similar users by embedding, by co-occurrence, or at random."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import sequences_of
from llmesr import retrieve
from llmesr.errors import InputError
from llmesr.paths import artifact
from llmesr.retrieve import jaccard_neighbours, random_neighbours, similar_users
from llmesr.similarity import nearest


def test_similar_users_are_the_nearest_ones():
    x = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    for measure in ("cosine", "inner_product", "l2"):
        found, (users, scores) = similar_users(x, 7, measure, 99), nearest(x, 7, measure, 99)
        np.testing.assert_array_equal(found.users, users)
        np.testing.assert_array_equal(found.scores, scores)


def test_few_users_give_all_others_and_one_user_is_an_error():
    found = similar_users(np.eye(3, dtype=np.float32), 10, "cosine", 99)
    assert [sorted(row) for row in found.users.tolist()] == [[1, 2], [0, 2], [0, 1]]
    with pytest.raises(InputError, match=r"similar users need at least 2 users"):
        similar_users(np.ones((1, 4), dtype=np.float32), 3, "cosine", 99)


@pytest.mark.parametrize("block", [2, 512])
def test_jaccard_neighbours_by_hand(monkeypatch, block):
    monkeypatch.setattr(retrieve, "BLOCK", block)
    train = sequences_of([1, 2, 2], [2, 3], [5], [1, 2, 3])
    # {1, 2}, {2, 3}, {5}, {1, 2, 3}: 0-1 1/3, 0-3 2/3, 1-3 2/3, nobody with 2
    found = jaccard_neighbours(train, 5, 2)
    assert found.users.tolist() == [[3, 1], [3, 0], [0, 1], [0, 1]]
    np.testing.assert_allclose(found.scores, [[2 / 3, 1 / 3], [2 / 3, 1 / 3], [0, 0], [2 / 3, 2 / 3]], rtol=1e-6)


def test_random_users_are_others_each_once_and_the_same_for_a_seed(monkeypatch):
    monkeypatch.setattr(retrieve, "BLOCK", 7)
    found, again, other = (random_neighbours(30, 5, seed).users for seed in (1, 1, 2))
    assert (found != np.arange(30)[:, None]).all()
    assert all(len(set(row)) == 5 for row in found)
    assert (found == again).all()
    assert (found != other).any()


def test_each_source_is_the_one_that_is_named(tiny, data, embeddings):
    states = np.random.default_rng(5).normal(size=(data.n_users, 6)).astype(np.float32)

    def found(source):
        return retrieve.find(tiny.changed({"retrieve.source": source}), data, embeddings, states).users

    np.testing.assert_array_equal(found("llm"), similar_users(embeddings.users, 5, "cosine", 99).users)
    np.testing.assert_array_equal(found("collaborative"), similar_users(states, 5, "cosine", 99).users)
    np.testing.assert_array_equal(found("cooccurrence"), jaccard_neighbours(data.train, data.n_items, 5).users)
    np.testing.assert_array_equal(found("random"), random_neighbours(data.n_users, 5, tiny.prepare.seed).users)
    with pytest.raises(InputError, match=r"'retrieve.source' is 'collaborative', which needs a trained recommender"):
        retrieve.find(tiny.changed({"retrieve.source": "collaborative"}), data, embeddings)


def test_stage_writes_what_it_returns_and_names_what_is_wrong(tiny, data, embeddings):
    with pytest.raises(InputError, match=r"neighbours.safetensors is missing: run `dvc repro retrieve` first"):
        retrieve.load("tiny")
    found, again = retrieve.run(tiny, data, embeddings), retrieve.load("tiny")
    np.testing.assert_array_equal(found.users, again.users)
    assert found.users.shape == (90, 5)
    file = artifact("tiny", "retrieve") / "neighbours.safetensors"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(InputError, match=r"neighbours.safetensors is damaged"):
        retrieve.load("tiny")


def test_measure_and_the_bound_of_exact_search_are_those_of_the_settings(tiny, data, embeddings, monkeypatch):
    users = np.array([[1, 0], [0.9, 0.2], [5, 5]], np.float32)
    own = replace(embeddings, users=users)
    for measure, most_similar in (("cosine", 1), ("inner_product", 2), ("l2", 1)):
        settings = tiny.changed({"retrieve.measure": measure, "retrieve.neighbours": 1})
        assert retrieve.find(settings, data, own).users[0].tolist() == [most_similar]
    asked, real = [], retrieve.nearest
    monkeypatch.setattr(retrieve, "nearest", lambda *given: asked.append(given[3]) or real(*given))
    retrieve.find(tiny.changed({"retrieve.exact_up_to": 1234}), data, own)
    assert asked == [1234]
