"""The newer rows: what is frozen, what is whitened, where the IDs live."""

import numpy as np
import pytest
import torch
from llmesr import train
from llmesr.errors import InputError
from llmesr.models.methods import LOSSES, METHODS
from llmesr.models.methods.alphafuse import leading
from llmesr.models.whitening import spectrum, whiten


@pytest.fixture
def texts():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(500, 12)) * np.linspace(0.1, 3, 12)) @ rng.normal(size=(12, 12)) + 5


def test_whitening_gives_the_identity_as_covariance(texts):
    found = whiten(texts).astype(np.float64)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(found.T @ found / len(found), np.eye(12), atol=1e-2)


def test_whitening_by_groups_decorrelates_within_each_alone(texts):
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


def test_texts_that_do_not_vary_in_a_direction_stay_finite():
    flat = np.zeros((20, 6))
    flat[:, 0] = np.arange(20)
    for groups in (1, 3):
        found = whiten(flat, groups=groups)
        assert np.isfinite(found).all()
        assert np.abs(found[:, 1:]).max() < 1e-6
    assert not whiten(np.ones((4, 3))).any()


@pytest.mark.parametrize("method", ["whitenrec", "unisrec", "alphafuse"])
def test_text_is_frozen(build, method):
    model = build(method=method)
    parameters, buffers = (dict(part) for part in (model.table.named_parameters(), model.table.named_buffers()))
    texts = [name for name in {**parameters, **buffers} if name.endswith(("text", "views"))]
    assert texts
    assert set(texts) <= set(buffers)


def test_padding_of_alphafuse_is_zero(build):
    assert not build(method="alphafuse").item_vectors(torch.tensor([0])).any()


def test_whitenrec_knows_items_by_their_text_alone(build):
    model, alone = build(method="whitenrec"), build(method="whitenrec", methods__whitenrec__groups=1)
    assert not [name for name, _ in model.named_parameters() if "ids" in name]
    assert model.table.views.shape[1:] == (2, 24)
    assert alone.table.views.shape[1:] == (1, 24)
    items = torch.tensor([3, 7])
    expected = model.table.head(model.table.views[items, 0]) + model.table.head(model.table.views[items, 1])
    torch.testing.assert_close(model.item_vectors(items), expected)


def test_unisrec_is_a_gated_mixture_and_scores_by_cosine(build, sequences):
    model = build(method="unisrec").eval()
    items = torch.tensor([2, 5])
    text = model.table.text[items]
    gates = model.table.gate(text).softmax(-1)
    mixed = sum(gates[:, [k]] * expert.rotate(text - expert.shift) for k, expert in enumerate(model.table.experts))
    torch.testing.assert_close(model.table(items), mixed + model.table.ids(items))
    vectors = model.item_vectors(sequences.items)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(len(vectors)))
    states = model.states(sequences, vectors)
    torch.testing.assert_close(states.norm(dim=-1), torch.full((len(states),), 1 / 0.07))
    assert build(method="unisrec", methods__unisrec__ids=False).table.ids is None


def test_alphafuse_learns_ids_where_the_text_is_not(build):
    model = build(method="alphafuse", methods__alphafuse__null_space=10)
    items = torch.arange(1, 40)
    before = model.item_vectors(items)
    assert not before[:, 22:].any()  # IDs start at zero
    before.sum().backward()
    with torch.no_grad():
        model.table.ids.weight -= model.table.ids.weight.grad
    after = model.item_vectors(items)
    assert torch.equal(after[:, :22], before[:, :22])
    assert (after[:, 22:] != before[:, 22:]).all()
    with pytest.raises(
        InputError, match=r"'methods.alphafuse.null_space' is 32, which leaves nothing of 'model.hidden' \(32\)"
    ):
        build(method="alphafuse", methods__alphafuse__null_space=32)


def test_alphafuse_keeps_the_leading_directions_whitened(texts):
    found = leading(texts, 5)
    np.testing.assert_allclose(found.T @ found / len(found) * 5, np.eye(5), atol=1e-6)
    kept = spectrum(texts - texts.mean(0))[1][:, :5]
    projected = (texts - texts.mean(0)) @ kept
    for column in range(5):
        assert np.corrcoef(found[:, column], projected[:, column])[0, 1] == pytest.approx(1)
    assert not leading(texts, 20)[:, 12:].any()  # wider than the text


def test_own_means_the_loss_of_the_methods_paper(tiny):
    own = tiny.train.model_copy(update={"loss": "own"})
    assert {train.with_loss(own, method).loss for method in METHODS if method not in LOSSES} == {"bce"}
    assert train.with_loss(own, "alphafuse").loss == "cross_entropy"
    assert train.with_loss(tiny.train.model_copy(update={"loss": "gbce"}), "alphafuse").loss == "gbce"
