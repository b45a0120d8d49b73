"""Dropout drops its share, keeps the mean, and is nothing in evaluation."""

import pytest
import torch
from llmesr.models.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_it_drops_its_share_and_scales_the_rest(p):
    torch.manual_seed(0)
    y = Dropout(p)(torch.ones(400, 333))
    assert (y == 0).float().mean() == pytest.approx(p, abs=0.005)
    assert y.max() == pytest.approx(1 / (1 - p), rel=1e-4)
    assert y.mean() == pytest.approx(1, abs=0.01)


def test_it_is_the_identity_in_evaluation_and_for_zero():
    x = torch.randn(5, 7)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_each_time_and_with_each_seed_it_drops_others():
    x = torch.ones(100)
    torch.manual_seed(0)
    first, second = Dropout(0.5)(x), Dropout(0.5)(x)
    torch.manual_seed(0)
    assert torch.equal(Dropout(0.5)(x), first)
    assert not torch.equal(first, second)


def test_what_is_dropped_has_no_gradient():
    x = torch.ones(1000, requires_grad=True)
    y = Dropout(0.5)(x)
    y.sum().backward()
    assert torch.equal(x.grad == 0, y == 0)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_any_size_is_covered(size):
    assert Dropout(0.5)(torch.ones(size, 1)).shape == (size, 1)
