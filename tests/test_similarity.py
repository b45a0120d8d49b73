"""What is near what: the nearest vectors, and items that the same users have."""

import faiss
import numpy as np
import pytest
from helpers import sequences_of
from llmesr import similarity
from llmesr.sequences import Sequences
from llmesr.similarity import cooccurrence, incidence, nearest, text_similarity, transitions

MEASURES = pytest.mark.parametrize("measure", ["cosine", "inner_product", "l2"])


@MEASURES
def test_exact_search_equals_the_dense_computation(measure):
    x = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32) * np.linspace(0.2, 3, 60)[:, None]
    x = x.astype(np.float32)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    dense = {"cosine": unit @ unit.T, "inner_product": x @ x.T, "l2": -((x[:, None] - x[None]) ** 2).sum(-1)}[measure]
    np.fill_diagonal(dense, -np.inf)
    found, scores = nearest(x, 7, measure, 99)
    np.testing.assert_array_equal(found, np.argsort(-dense, axis=1)[:, :7])
    sign = -1 if measure == "l2" else 1
    np.testing.assert_allclose(scores * sign, -np.sort(-dense, axis=1)[:, :7], atol=1e-4)


def test_no_row_is_its_own_neighbour_even_among_equals():
    found, _ = nearest(np.ones((9, 4), np.float32), 3, "cosine", 99)
    assert (found != np.arange(9)[:, None]).all()
    assert all(len(set(row)) == 3 for row in found)


def test_few_rows_give_all_others():
    found, _ = nearest(np.eye(3, dtype=np.float32), 10, "cosine", 99)
    assert [sorted(row) for row in found.tolist()] == [[1, 2], [0, 2], [0, 1]]


@pytest.mark.slow
@MEASURES
def test_approximate_search_finds_nearly_all_of_the_exact_one(measure):
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(40, 16)).astype(np.float32)
    x = kinds[rng.integers(40, size=3000)] + rng.normal(scale=1.0, size=(3000, 16)).astype(np.float32)
    exact, approximate = (nearest(x, 10, measure, limit)[0] for limit in (3000, 2999))
    assert (approximate != np.arange(3000)[:, None]).all()
    assert all(len(set(row)) == 10 for row in approximate.tolist())
    shared = [len(set(a) & set(b)) for a, b in zip(exact.tolist(), approximate.tolist(), strict=True)]
    assert 0.85 < np.mean(shared) / 10 < 1  # not the same search twice


def test_an_index_asked_cell_by_cell_gives_what_it_gives_asked_in_order(monkeypatch):
    x = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
    index = faiss.index_factory(8, "IVF10,Flat", faiss.METRIC_L2)
    index.train(x)
    index.add(x)
    index.nprobe = 3
    scores, found = index.search(x, 6)
    monkeypatch.setattr(similarity, "AT_ONCE", 64)
    by_cell = similarity._cell_by_cell(index, x, 6)
    np.testing.assert_allclose(by_cell[0], scores, atol=1e-5)
    np.testing.assert_array_equal(by_cell[1], found)


def test_approximate_search_gives_all_neighbours_though_the_cells_that_are_read_hold_too_few():
    x = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    found, exact = (nearest(x, 200, "cosine", limit)[0] for limit in (100, 400))
    assert found.shape == (400, 200)
    assert found.min() >= 0
    np.testing.assert_array_equal(np.sort(found), np.sort(exact))


def test_input_is_left_alone():
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    before = x.copy()
    nearest(x, 2, "cosine", 99)
    np.testing.assert_array_equal(x, before)


# --- items ---


def test_incidence_counts_a_repeated_item_once():
    found = incidence(Sequences.of_lists([[2, 1, 2], [], [3]]), 3)
    assert found.toarray().tolist() == [[0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]


def test_cooccurrence_is_the_cosine_of_columns_without_the_item_itself():
    train = Sequences.of_lists([[1, 2], [1, 2, 3], [3, 4]])
    has = incidence(train, 5).toarray()
    dense = has.T @ has
    norms = np.sqrt(np.maximum(np.diag(dense), 1))
    dense = dense / norms[:, None] / norms
    np.fill_diagonal(dense, 0)
    found = cooccurrence(train, 5, 5).toarray()
    np.testing.assert_allclose(found, dense, rtol=1e-6)
    assert found[1, 2] == pytest.approx(1)  # always together
    assert found[1, 3] == pytest.approx(1 / 2)  # once together, each twice there


def test_only_the_nearest_are_kept():
    train = Sequences.of(np.random.default_rng(0).integers(1, 31, 600), np.full(100, 6))
    whole, short = cooccurrence(train, 30, 30).toarray(), cooccurrence(train, 30, 4).toarray()
    assert (np.count_nonzero(short, axis=1)[1:] == 4).all()
    np.testing.assert_allclose(np.sort(short)[1:, -4:], np.sort(whole)[1:, -4:], rtol=1e-6)


def test_of_equal_items_the_first_are_kept():
    train = Sequences.of_lists([[1, 2], [1, 3], [1, 4]])
    assert cooccurrence(train, 4, 2).toarray()[1].nonzero()[0].tolist() == [2, 3]


def test_text_similarity_starts_at_item_1_and_leaves_out_what_points_away():
    vectors = np.array([[1, 0], [1, 1], [-1, 0]], np.float32)
    expected = np.zeros((4, 4))
    expected[1, 2] = expected[2, 1] = 0.5**0.5
    np.testing.assert_allclose(text_similarity(vectors, 2, 99).toarray(), expected, atol=1e-6)
    assert text_similarity(vectors[:1], 2, 99).shape == (2, 2)
    assert text_similarity(vectors[:1], 2, 99).nnz == 0


def test_transitions_count_what_follows_by_its_distance():
    train = sequences_of([1, 2, 3], [2, 3], [3, 3, 4])
    found = transitions(train, 5, 5).toarray()
    counts = [0, 1, 2, 4, 1]
    expected = np.zeros((6, 6))
    for (first, then), value in {(1, 2): 1, (1, 3): 1 / 2, (2, 3): 2, (3, 4): 1 + 1 / 2}.items():
        expected[first, then] = value / (counts[first] * counts[then]) ** 0.5
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_transitions_keep_the_largest_and_end_at_a_distance(monkeypatch):
    train = sequences_of(list(range(1, 9)))
    assert np.flatnonzero(transitions(train, 8, 2).toarray()[1]).tolist() == [2, 3]
    monkeypatch.setattr(similarity, "FAR", 3)
    assert np.flatnonzero(transitions(train, 8, 8).toarray()[1]).tolist() == [2, 3, 4]
