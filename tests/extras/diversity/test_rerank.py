"""Lists beyond hits: measures by hand, and re-rankers that do what their formulas say."""

import itertools
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmesr.extras.diversity import measures
from llmesr.extras.diversity import rerank as module
from llmesr.extras.diversity.measures import Catalogue, categories_of
from llmesr.extras.diversity.rerank import (
    RERANKERS,
    Candidates,
    calibrated,
    candidates,
    dpp,
    less_popular,
    mmr,
    reranked,
)

UNIT = np.array([[0, 0], [1, 0], [0, 1], [0.6, 0.8], [1, 0]], np.float32)
"""Of items 1 to 4; 4 reads like 1."""
SHOP = Catalogue(
    unit=UNIT,
    categories=np.array([[0, 0], [1, 0], [0, 1], [0.5, 0.5], [1, 0]], np.float32),
    counts=np.array([0, 8, 4, 2, 1]),
    tail=np.array([False, False, False, True, True]),
    n_users=16,
)


def shop_of(seed, n_items=12, n_categories=3):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n_items + 1, 5))
    shares = rng.dirichlet(np.ones(n_categories), n_items + 1)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return Catalogue(unit, shares, rng.integers(1, 50, n_items + 1), rng.random(n_items + 1) < 0.5, 100)


def some_candidates(seed, n=8, n_items=12):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(2, n_items + 1))
    scores[:, 0] = -np.inf
    return candidates(scores, n, rng.dirichlet(np.ones(3), 2))


def test_categories_are_shares():
    several = categories_of(pl.Series(["b a", "a", None]), " ")
    assert several.tolist() == [[0, 0, 0], [0.5, 0.5, 0], [1, 0, 0], [0, 0, 1]]
    whole = categories_of(pl.Series(["b a", "a", "b a"]), None)
    assert whole.tolist() == [[0, 0], [0, 1], [1, 0], [0, 1]]
    assert categories_of(pl.Series([["b", "a"], ["a"], None]), None).tolist() == several.tolist()


def test_diversity_within_a_list_by_hand():
    lists = np.array([[1, 4], [1, 2], [1, 3]])
    assert measures.semantic_diversity(lists, SHOP) == pytest.approx([0, 1, 0.4])
    assert measures.category_diversity(lists, SHOP) == pytest.approx([0, 1, 0.5])
    three = np.array([[1, 2, 3]])
    assert measures.semantic_diversity(three, SHOP) == pytest.approx([1 - (0 + 0.6 + 0.8) / 3])
    assert measures.category_diversity(three, SHOP) == pytest.approx([1 - (0 + 0.5 + 0.5) / 3])


def test_novelty_lift_and_exposure_by_hand():
    lists = np.array([[1, 2], [3, 4]])
    assert measures.novelty(lists, SHOP) == pytest.approx([(1 + 2) / 2, (3 + 4) / 2])
    assert measures.popularity_lift(lists, np.array([3.0, 2.0]), SHOP) == pytest.approx(3.75 / 2.5 - 1)
    assert measures.coverage(np.array([[1, 2], [2, 1]]), 4) == 0.5
    assert measures.concentration(np.array([[1, 2], [3, 4]]), 4) == 0
    assert measures.concentration(np.array([[1], [1]]), 4) == pytest.approx(0.75)


def test_calibration_is_zero_for_the_same_shares_and_grows_with_the_distance():
    history = np.array([[0.5, 0.5]], np.float32)
    assert measures.miscalibration(np.array([[1, 2]]), history, SHOP) == pytest.approx([0], abs=1e-6)
    lopsided = measures.miscalibration(np.array([[1, 4]]), history, SHOP)
    a = measures.SMOOTHING
    expected = 0.5 * np.log(0.5 / ((1 - a) + a / 2)) + 0.5 * np.log(0.5 / (a / 2))
    assert lopsided == pytest.approx([expected], rel=1e-5)
    assert measures.miscalibration(np.array([[1, 3]]), history, SHOP) < lopsided


def test_a_hit_is_serendipitous_if_best_sellers_would_have_missed_it():
    lists, targets = np.array([[1, 3], [1, 3], [1, 3]]), np.array([3, 1, 2])
    ranks = measures.ranks(lists, targets)
    assert ranks.tolist() == [2, 1, np.inf]
    assert measures.serendipity(ranks <= 2, targets, np.array([[1, 2]] * 3)).tolist() == [True, False, False]


def test_candidates_are_in_order_and_relevance_goes_from_one_to_zero():
    found = candidates(np.array([[-np.inf, 1.0, 5.0, 3.0, -np.inf]]), 3, np.zeros((1, 2)))
    assert found.items.tolist() == [[2, 3, 1]]
    assert found.relevance.tolist() == [[1, 0.5, 0]]
    few = candidates(np.array([[-np.inf, 1.0, 5.0, -np.inf, -np.inf]]), 3, np.zeros((1, 2)))
    assert few.relevance.tolist() == [[1, 0, -np.inf]]


@pytest.mark.parametrize("name", RERANKERS)
@given(st.integers(0, 50))
def test_with_all_weight_on_relevance_nothing_changes(name, seed):
    found = some_candidates(seed)
    assert RERANKERS[name](found, 4, 1.0, shop_of(seed)).tolist() == found.items[:, :4].tolist()


@pytest.mark.parametrize("name", RERANKERS)
@given(st.integers(0, 50), st.floats(0, 0.99))
def test_lists_are_distinct_candidates(name, seed, trade):
    found = some_candidates(seed)
    for listed, known in zip(RERANKERS[name](found, 5, trade, shop_of(seed)), found.items, strict=True):
        assert len(set(listed)) == 5
        assert set(listed) <= set(known)


def greedily(n, k, value):
    """Choose k of n places, each the best by `value(chosen, place)`: the plain version."""
    chosen = []
    for _ in range(k):
        left = [place for place in range(n) if place not in chosen]
        chosen.append(max(left, key=lambda place: value(chosen, place)))
    return chosen


@given(st.integers(0, 30), st.floats(0.05, 0.95))
def test_mmr_is_the_formula(seed, trade):
    found, shop = some_candidates(seed), shop_of(seed)
    for row, listed in enumerate(mmr(found, 4, trade, shop)):
        cosines, relevance = shop.unit[found.items[row]] @ shop.unit[found.items[row]].T, found.relevance[row]

        def value(chosen, place, cosines=cosines, relevance=relevance):
            return trade * relevance[place] - (1 - trade) * max(cosines[place, chosen], default=0)

        assert listed.tolist() == found.items[row, greedily(8, 4, value)].tolist()


@given(st.integers(0, 30), st.floats(0.05, 0.9))
def test_fast_dpp_is_the_greedy_choice_by_determinants(seed, trade):
    found, shop = some_candidates(seed), shop_of(seed)
    for row, listed in enumerate(dpp(found, 4, trade, shop)):
        quality = np.exp(trade / (2 * (1 - trade)) * found.relevance[row])
        vectors = shop.unit[found.items[row]] * quality[:, None]

        def value(chosen, place, kernel=vectors @ vectors.T):
            some = [*chosen, place]
            return np.linalg.det(kernel[np.ix_(some, some)])

        assert listed.tolist() == found.items[row, greedily(8, 4, value)].tolist()


@given(st.integers(0, 30), st.floats(0.05, 0.95))
def test_calibration_is_the_formula(seed, trade):
    """λ times the mean relevance of the list, minus (1 − λ) KL(history ‖ list)."""
    found, shop = some_candidates(seed), shop_of(seed)
    for row, listed in enumerate(calibrated(found, 4, trade, shop)):
        shares, relevance = shop.categories[found.items[row]], found.relevance[row]

        def value(chosen, place, shares=shares, relevance=relevance, history=found.histories[row]):
            some = [*chosen, place]
            mixed = 0.99 * shares[some].mean(0) + 0.01 * history
            return trade * relevance[some].mean() - (1 - trade) * (history * np.log(history / mixed)).sum()

        assert listed.tolist() == found.items[row, greedily(8, 4, value)].tolist()


def test_popularity_is_taken_off_by_hand():
    """log(1 + count) of counts 31, 15, 7 and 3 is as 5, 4, 3 and 2, so popularity is 1, 2/3, 1/3 and 0."""
    shop = replace(SHOP, counts=np.array([10**6, 31, 15, 7, 3]))
    found = Candidates(np.array([[1, 2, 3, 4]]), np.array([[1.0, 0.9, 0.8, 0.1]]), np.zeros((1, 2)))
    # a weight of 1/2: half of 0, 0.23, 0.47 and 0.1; of 3/4: 0.5, 0.51, 0.52 and 0.08; of 0.8: 0.6, 0.59, 0.57 and 0.08
    assert less_popular(found, 4, 0.5, shop).tolist() == [[3, 2, 4, 1]]
    assert less_popular(found, 4, 0.75, shop).tolist() == [[3, 2, 1, 4]]
    assert less_popular(found, 4, 0.8, shop).tolist() == [[1, 2, 3, 4]]


def test_greedy_dpp_finds_the_largest_determinant_where_two_are_chosen_from_orthogonal_ones():
    found = Candidates(np.array([[1, 4, 2]]), np.array([[1.0, 0.9, 0.0]]), np.zeros((1, 2)))
    pairs = list(itertools.combinations([1, 4, 2], 2))
    largest = max(pairs, key=lambda pair: np.linalg.det(UNIT[list(pair)] @ UNIT[list(pair)].T))
    assert set(dpp(found, 2, 0.1, SHOP)[0]) == set(largest)


@pytest.mark.parametrize(
    ("name", "measure", "better"),
    [
        ("mmr", measures.semantic_diversity, np.greater_equal),
        ("dpp", measures.semantic_diversity, np.greater_equal),
        ("less_popular", measures.novelty, np.greater_equal),
    ],
)
def test_less_weight_on_relevance_gives_more_of_the_other(name, measure, better):
    shop = shop_of(1, n_items=60)
    rng = np.random.default_rng(0)
    found = candidates(np.hstack([np.full((40, 1), -np.inf), rng.normal(size=(40, 60))]), 30, np.ones((40, 3)) / 3)
    values = [measure(RERANKERS[name](found, 6, trade, shop), shop).mean() for trade in (1.0, 0.7, 0.4, 0.1)]
    assert better(np.diff(values), -1e-9).all()
    assert values[-1] > values[0]


def test_calibration_brings_the_categories_of_the_history_back():
    shop = shop_of(2, n_items=60)
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(3), 40)
    found = candidates(np.hstack([np.full((40, 1), -np.inf), rng.normal(size=(40, 60))]), 30, shares)
    away = [
        measures.miscalibration(RERANKERS["calibrated"](found, 6, trade, shop), shares, shop).mean()
        for trade in (1.0, 0.5, 0.1)
    ]
    assert away[0] > away[1] >= away[2]


@pytest.mark.parametrize("name", RERANKERS)
def test_lists_do_not_depend_on_how_many_users_are_reranked_at_once(name, monkeypatch):
    shop, found = shop_of(3), Candidates.concatenate([some_candidates(3), some_candidates(4)])
    lists = reranked(name, found, 4, 0.5, shop)
    assert lists.tolist() == RERANKERS[name](found, 4, 0.5, shop).tolist()
    monkeypatch.setattr(module, "MOST_VALUES", 1)
    assert reranked(name, found, 4, 0.5, shop).tolist() == lists.tolist()
