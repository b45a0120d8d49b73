"""Whitening: uncorrelated columns of one variance, in groups, by a power."""

import numpy as np
import pytest
from llmesr.models.whitening import location, spectrum, whiten


@pytest.fixture
def texts():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(500, 12)) * np.linspace(0.1, 3, 12)) @ rng.normal(size=(12, 12)) + 5


def test_it_gives_the_identity_as_covariance(texts):
    found = whiten(texts).astype(np.float64)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(found.T @ found / len(found), np.eye(12), atol=1e-2)


def test_by_groups_it_decorrelates_within_each_alone(texts):
    found = whiten(texts, groups=3).astype(np.float64)
    covariance = found.T @ found / len(found)
    for start in (0, 4, 8):
        np.testing.assert_allclose(covariance[start : start + 4, start : start + 4], np.eye(4), atol=1e-2)
    assert np.abs(covariance[:4, 4:8]).max() > 0.1


def test_no_power_only_centres_and_half_a_power_takes_the_root_of_the_spread(texts):
    centred = texts - texts.mean(0)
    np.testing.assert_allclose(whiten(texts, power=0.0), centred, atol=1e-4)
    before, after = spectrum(centred)[0], spectrum(whiten(texts, power=0.5))[0]
    np.testing.assert_allclose(after, np.sqrt(before), rtol=1e-3)


def test_rows_are_whitened_by_the_statistics_of_others(texts):
    known, new = texts[:400], texts[400:]
    np.testing.assert_allclose(whiten(texts, of=known)[400:], whiten(new, of=known), atol=1e-5)
    np.testing.assert_allclose(whiten(known, of=known), whiten(known), atol=1e-6)


def test_texts_that_do_not_vary_in_a_direction_stay_finite():
    flat = np.zeros((20, 6))
    flat[:, 0] = np.arange(20)
    for groups in (1, 3):
        found = whiten(flat, groups=groups)
        assert np.isfinite(found).all()
        assert np.abs(found[:, 1:]).max() < 1e-6
    assert not whiten(np.ones((4, 3))).any()


def test_location_by_hand():
    mean, spread = location(np.array([[1.0, 0.0], [3.0, 0.0]]))
    assert mean.tolist() == [2, 0]
    assert spread == pytest.approx(1)
    assert location(np.ones((3, 2)))[1] > 0


def test_the_sign_of_a_direction_does_not_depend_on_the_machine(texts):
    values, directions = spectrum(texts - texts.mean(0))
    assert (np.diff(values) <= 0).all()
    assert (np.take_along_axis(directions, np.abs(directions).argmax(0)[None], 0) > 0).all()


def test_a_direction_that_hardly_varies_is_not_blown_up():
    """It is noise: at full whitening its variance would otherwise become that of the others."""
    x = np.random.default_rng(0).normal(size=(500, 3)) * [1, 1, 1e-7]
    white = whiten(x)
    np.testing.assert_allclose(white.std(0)[:2], 1, atol=0.05)
    assert white.std(0)[2] < 0.1
