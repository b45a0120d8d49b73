"""PCA: the first value of the collaborative table."""

import numpy as np
import pytest
from llmesr.embed.reduce import reduce
from llmesr.errors import InputError


def test_pca_keeps_distances_and_orders_directions_by_variance():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 10)) + 5  # rank 3
    reduced = reduce(x, 4)
    distances = [np.linalg.norm(m[:, None] - m[None], axis=-1) for m in (x, reduced)]
    np.testing.assert_allclose(*distances, atol=1e-4)
    np.testing.assert_allclose(reduced.mean(0), 0, atol=1e-5)
    assert (np.diff(reduced.var(0)) < 0).all()
    assert reduced.dtype == np.float32


def test_pca_of_few_items_is_padded_and_nonsense_is_named():
    assert reduce(np.eye(3), 8).shape == (3, 8)
    assert (reduce(np.eye(3), 8)[:, 3:] == 0).all()
    with pytest.raises(InputError, match=r"item embeddings are not finite"):
        reduce(np.array([[np.nan, 1.0], [0.0, 1.0]]), 1)


def test_the_components_are_exact_and_the_same_each_time():
    x = np.random.default_rng(0).normal(size=(60, 200)).astype(np.float32)
    found = reduce(x, 10)
    assert np.array_equal(found, reduce(x, 10))
    U, S, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    np.testing.assert_allclose(abs(found), abs(U[:, :10] * S[:10]), atol=1e-3)
