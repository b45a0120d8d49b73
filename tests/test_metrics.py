"""Metrics: hand-computed values, and agreement with scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmesr.metrics import hit_rate, ndcg
from sklearn.metrics import ndcg_score, top_k_accuracy_score


def test_by_hand():
    ranks = np.array([1.0, 2.0, 3.0, 10.0, 10.5, 11.0])
    assert hit_rate(ranks, 10).tolist() == [1, 1, 1, 1, 0, 0]
    expected = [1, 0.6309297535714575, 0.5, 0.2890648263178879, 0, 0]
    np.testing.assert_allclose(ndcg(ranks, 10), expected)
    assert hit_rate(ranks, 2).sum() == 2
    assert ndcg(np.array([2.5]), 10)[0] == pytest.approx(1 / np.log2(3.5))


def test_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(200, 101))
    target = rng.integers(0, 101, 200)
    own = scores[np.arange(200), target]
    ranks = 1.0 + (scores > own[:, None]).sum(1)
    relevant = np.eye(101)[target]
    for k in (1, 5, 10):
        assert hit_rate(ranks, k).mean() == pytest.approx(top_k_accuracy_score(target, scores, k=k, labels=range(101)))
        assert ndcg(ranks, k).mean() == pytest.approx(ndcg_score(relevant, scores, k=k))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(2, 200).map(lambda n: n / 2), min_size=1), st.integers(1, 50))
def test_metrics_lie_between_0_and_1_and_never_rise_with_the_rank(ranks, k):
    ordered = np.sort(np.array(ranks))
    for metric in (hit_rate, ndcg):
        values = metric(ordered, k)
        assert ((values >= 0) & (values <= 1)).all()
        assert (np.diff(values) <= 0).all()
        assert (metric(ordered, k + 1) >= values).all()
    assert (ndcg(ordered, k) <= hit_rate(ordered, k)).all()
