"""Stage 03: similar users."""

import faiss
import numpy as np
import pytest
from conftest import changed
from llmesr import retrieve
from llmesr.errors import InputError
from llmesr.paths import artifact
from llmesr.prepare.dataset import Sequences
from llmesr.retrieve import similar_users
from llmesr.retrieve.look import jaccard


@pytest.mark.parametrize("measure", ["cosine", "inner_product", "l2"])
def test_equals_the_dense_computation(measure):
    x = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32) * np.linspace(0.2, 3, 60)[:, None]
    x = x.astype(np.float32)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    scores = {"cosine": unit @ unit.T, "inner_product": x @ x.T, "l2": -((x[:, None] - x[None]) ** 2).sum(-1)}[measure]
    np.fill_diagonal(scores, -np.inf)
    found = similar_users(x, 7, measure, 99)
    np.testing.assert_array_equal(found.users, np.argsort(-scores, axis=1)[:, :7])
    sign = -1 if measure == "l2" else 1
    np.testing.assert_allclose(found.scores * sign, -np.sort(-scores, axis=1)[:, :7], atol=1e-4)


def test_nobody_is_their_own_teacher_even_among_equals():
    x = np.ones((9, 4), dtype=np.float32)
    found = similar_users(x, 3, "cosine", 99)
    assert (found.users != np.arange(9)[:, None]).all()
    assert all(len(set(row)) == 3 for row in found.users)


def test_few_users_give_all_others_and_one_user_is_an_error():
    found = similar_users(np.eye(3, dtype=np.float32), 10, "cosine", 99)
    assert [sorted(row) for row in found.users.tolist()] == [[1, 2], [0, 2], [0, 1]]
    with pytest.raises(InputError, match=r"similar users need at least 2 users"):
        similar_users(np.ones((1, 4), dtype=np.float32), 3, "cosine", 99)


@pytest.mark.parametrize("measure", ["cosine", "inner_product", "l2"])
def test_approximate_search_finds_nearly_all_of_the_exact_one(measure):
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(40, 16)).astype(np.float32)
    x = kinds[rng.integers(40, size=3000)] + rng.normal(scale=1.0, size=(3000, 16)).astype(np.float32)
    exact, approximate = (similar_users(x, 10, measure, limit).users for limit in (3000, 2999))
    assert (approximate != np.arange(3000)[:, None]).all()
    assert all(len(set(row)) == 10 for row in approximate.tolist())
    shared = [len(set(a) & set(b)) for a, b in zip(exact.tolist(), approximate.tolist(), strict=True)]
    assert 0.85 < np.mean(shared) / 10 < 1  # not the same search twice


def test_an_index_asked_cell_by_cell_gives_what_it_gives_asked_in_order(monkeypatch):
    x = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
    index = faiss.index_factory(8, "IVF20,Flat", faiss.METRIC_L2)
    index.train(x)
    index.add(x)
    index.nprobe = 3
    scores, found = index.search(x, 6)
    monkeypatch.setattr(retrieve, "TOGETHER", 64)
    by_cell = retrieve._cell_by_cell(index, x, 6)
    np.testing.assert_allclose(by_cell[0], scores, atol=1e-5)
    np.testing.assert_array_equal(by_cell[1], found)


def test_approximate_search_gives_everybody_all_teachers_though_the_cells_that_are_read_hold_too_few():
    x = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    found = similar_users(x, 200, "cosine", 100)
    exact = similar_users(x, 200, "cosine", 400)
    assert found.users.shape == (400, 200)
    assert found.users.min() >= 0
    np.testing.assert_array_equal(np.sort(found.users), np.sort(exact.users))


def test_input_is_left_alone():
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    before = x.copy()
    similar_users(x, 2, "cosine", 99)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("block", [2, 512])
def test_co_buyers_by_hand(monkeypatch, block):
    monkeypatch.setattr(retrieve, "BLOCK", block)
    train = Sequences(np.array([1, 2, 2, 2, 3, 5, 1, 2, 3]), np.array([0, 3, 5, 6, 9]))
    # {1, 2}, {2, 3}, {5}, {1, 2, 3}: 0-1 1/3, 0-3 2/3, 1-3 2/3, nobody with 2
    found = retrieve.co_buyers(train, 5, 2)
    assert found.users.tolist() == [[3, 1], [3, 0], [0, 1], [0, 1]]
    np.testing.assert_allclose(found.scores, [[2 / 3, 1 / 3], [2 / 3, 1 / 3], [0, 0], [2 / 3, 2 / 3]], rtol=1e-6)


def test_random_users_are_others_each_once_and_the_same_for_a_seed(monkeypatch):
    monkeypatch.setattr(retrieve, "BLOCK", 7)
    found, again, other = (retrieve.random_users(30, 5, seed).users for seed in (1, 1, 2))
    assert (found != np.arange(30)[:, None]).all()
    assert all(len(set(row)) == 5 for row in found)
    assert (found == again).all()
    assert (found != other).any()


def test_each_source_is_the_one_that_is_named(tiny, data, embeddings):
    states = np.random.default_rng(5).normal(size=(data.n_users, 6)).astype(np.float32)

    def found(source):
        return retrieve.find(changed(tiny, retrieve__source=source), data, embeddings, states).users

    np.testing.assert_array_equal(found("llm"), similar_users(embeddings.users, 5, "cosine", 99).users)
    np.testing.assert_array_equal(found("collaborative"), similar_users(states, 5, "cosine", 99).users)
    np.testing.assert_array_equal(found("cooccurrence"), retrieve.co_buyers(data.train, data.n_items, 5).users)
    np.testing.assert_array_equal(found("random"), retrieve.random_users(data.n_users, 5, tiny.prepare.seed).users)
    with pytest.raises(InputError, match=r"'retrieve.source' is 'collaborative', which needs a trained recommender"):
        retrieve.find(changed(tiny, retrieve__source="collaborative"), data, embeddings)


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


def test_jaccard_by_hand():
    train = Sequences(np.array([1, 2, 2, 2, 3, 5]), np.array([0, 3, 5, 6]))
    # user 0 has {1, 2} (2 twice), user 1 {2, 3}, user 2 {5}
    found = jaccard(train, np.array([0, 0, 1]), np.array([1, 2, 1]), 5)
    np.testing.assert_allclose(found, [1 / 3, 0, 1])
