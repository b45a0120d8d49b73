"""AlphaFuse: IDs live where the text is not."""

import numpy as np
import pytest
import torch
from llmesr.errors import InputError
from llmesr.models.methods.alphafuse import leading_directions
from llmesr.models.whitening import spectrum


@pytest.fixture
def texts():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(500, 12)) * np.linspace(0.1, 3, 12)) @ rng.normal(size=(12, 12)) + 5


def test_ids_are_added_where_the_text_hardly_varies(build):
    model = build(method="alphafuse", changes={"methods.alphafuse.null_space": 10})
    items = torch.arange(1, 40)
    before = model.table(items)
    assert torch.equal(before, model.table.text[items])  # IDs start at zero
    before.sum().backward()
    with torch.no_grad():
        model.table.ids.weight -= model.table.ids.weight.grad
    after = model.table(items)
    assert torch.equal(after[:, :22], before[:, :22])
    torch.testing.assert_close(after[:, 22:], before[:, 22:] - 1)
    assert not model.table(torch.tensor([0])).any()  # padding
    assert "table.text" not in model.state_dict()


def test_more_ids_than_dimensions_are_named(build):
    build(method="alphafuse", changes={"methods.alphafuse.null_space": 32})
    with pytest.raises(InputError, match=r"'methods.alphafuse.null_space' is 33, more than 'model.hidden' \(32\)"):
        build(method="alphafuse", changes={"methods.alphafuse.null_space": 33})


def test_the_leading_directions_are_kept_whitened(texts):
    found = leading_directions(texts, 5)
    np.testing.assert_allclose(found.T @ found / len(found), np.eye(5), atol=1e-6)
    kept = spectrum(texts - texts.mean(0))[1][:, :5]
    projected = (texts - texts.mean(0)) @ kept
    for column in range(5):
        assert np.corrcoef(found[:, column], projected[:, column])[0, 1] == pytest.approx(1)
    assert not leading_directions(texts, 20)[:, 12:].any()  # wider than the text
