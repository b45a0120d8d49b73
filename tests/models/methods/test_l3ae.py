"""L3AE: the closed form is the minimum, and validation chooses its regularisers."""

import numpy as np
import pytest
import torch
from helpers import T, V, context_of, sequences_of
from llmesr.errors import InputError
from llmesr.models.methods import l3ae
from llmesr.models.methods.l3ae import autoencoder
from llmesr.models.scoring import Scorer
from llmesr.similarity import incidence

ONE_CHOICE = {
    "methods.l3ae.interaction_weights": [3.0],
    "methods.l3ae.text_weights": [2.0],
    "methods.l3ae.distillation_weights": [5.0],
}


def problem(n=7, users=30):
    """XᵀX of random histories, and a matrix with a zero diagonal."""
    rng = np.random.default_rng(0)
    x, towards = (rng.random((users, n)) < 0.3).astype(float), rng.normal(size=(n, n))
    np.fill_diagonal(towards, 0)
    return x.T @ x, towards


def test_the_closed_form_is_the_minimum():
    """Off the diagonal the gradient of ‖X − XB‖² + λ ‖B‖² + μ ‖B − C‖² is zero; on it B is."""
    gram, towards = problem()
    found = autoencoder(gram, 2.0, towards, 5.0)
    gradient = gram @ found - gram + 2.0 * found + 5.0 * (found - towards)
    np.fill_diagonal(gradient, 0)
    np.testing.assert_allclose(gradient, 0, atol=1e-10)
    assert not np.diag(found).any()


def test_without_texts_it_is_ease():
    gram, _ = problem()
    inverse = np.linalg.inv(gram + 2.0 * np.eye(len(gram)))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(autoencoder(gram, 2.0), expected)


def test_a_strong_pull_gives_what_it_is_pulled_to():
    gram, towards = problem()
    np.testing.assert_allclose(autoencoder(gram, 2.0, towards, 1e9), towards, atol=1e-6)


@pytest.mark.parametrize("text", [True, False])
def test_scores_are_what_a_history_has_times_the_matrix_and_repeats_count_once(build, sequences, text):
    model = build(method="l3ae", changes={**ONE_CHOICE, "methods.l3ae.text": text})
    model.on_fit_end(context_of(model, sequences))
    x = incidence(sequences, V).toarray()[:, 1:].astype(float)
    towards = autoencoder(model.texts @ model.texts.T, 2.0)
    expected = autoencoder(x.T @ x, 3.0, towards, 5.0) if text else autoencoder(x.T @ x, 3.0)
    scores = Scorer.of(model, V, T)(sequences_of([2, 5, 2]))
    np.testing.assert_allclose(scores[0, 1:], expected[1] + expected[4], atol=1e-5)


def test_validation_chooses(build, sequences, monkeypatch):
    """Of six choices the fourth is the best: its matrix is kept, whatever comes after."""
    choices = {**ONE_CHOICE, "methods.l3ae.interaction_weights": [1.0, 10.0, 100.0]}
    model = build(method="l3ae", changes={**choices, "methods.l3ae.text_weights": [1.0, 9.0]})
    values, seen = iter([0.1, 0.3, 0.2, 0.5, 0.5, 0.4]), []
    monkeypatch.setattr(l3ae.L3AE, "_validate", lambda self, *_: seen.append(self.weights.clone()) or next(values))
    model.on_fit_end(context_of(model, sequences))
    assert len(seen) == 6
    assert torch.equal(model.weights, seen[3])


def test_validation_ranks_among_what_was_not_had(build):
    """Item 1's best other item is 2, which the user had; of what is left the target 4 comes second."""
    model = build(method="l3ae")
    model.weights[1, [2, 3, 4]] = torch.tensor([3.0, 2.0, 1.0])
    assert model._validate(sequences_of([1, 2]), torch.tensor([4])) == pytest.approx(1 / np.log2(3))


def test_too_many_items_are_named(build, monkeypatch):
    monkeypatch.setattr(l3ae, "MOST_ITEMS", V - 1)
    with pytest.raises(InputError, match=r"L3AE inverts a matrix of all pairs of items, and 48 items are too many"):
        build(method="l3ae")
