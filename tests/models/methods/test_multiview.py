"""A set of views: what is missing has no influence, the parts of a score sum to it, the fusions are what they say."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from helpers import encode
from llmesr.errors import InputError
from llmesr.models.inputs import ItemView
from llmesr.models.methods import multiview
from llmesr.models.methods.multiview import FUSIONS, Views, shares, standardised
from llmesr.runs.store import Run

D = 8


@pytest.fixture
def build_views(tiny, data, inputs):
    """Build the method with two further views, each of which lacks some of the items."""
    rng = np.random.default_rng(3)
    views = {}
    for name, width, every in (("graph", 5, 3), ("image", 9, 4)):
        items = np.array([item for item in range(1, data.n_items + 1) if item % every])
        views[name] = ItemView.of(items, rng.normal(size=(len(items), width)).astype(np.float32), data.n_items)
    attached = replace(inputs, views=views)

    def make(names=("text", "graph", "image"), seed=0, **own):
        own = {"views": list(names), **own}
        settings = tiny.changed({f"methods.multiview.{key}": value for key, value in own.items()})
        return Run(settings, "sasrec", "multiview", seed, data, attached).build()

    return make


def tokens_of(rows=6, views=3):
    chance = torch.Generator().manual_seed(0)
    tokens = torch.randn(rows, views + 1, D, generator=chance)
    there = torch.rand(rows, views + 1, generator=chance) < 0.5
    there[:, -1] = True  # the ID
    return tokens, there


@pytest.mark.parametrize("name", FUSIONS)
def test_what_is_not_there_has_no_influence_and_no_gradient(name):
    torch.manual_seed(0)
    fuse = FUSIONS[name](3, D, 2, 4)
    tokens, there = tokens_of()
    tokens.requires_grad_()
    found = fuse(tokens, there)
    nonsense = torch.where(there[..., None], tokens, 1e6)
    torch.testing.assert_close(fuse(nonsense, there), found)
    found.square().sum().backward()
    assert not tokens.grad[~there].any()
    assert tokens.grad[there].abs().sum(-1).min() > 0
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("name", FUSIONS)
def test_items_do_not_meet_in_a_fusion(name):
    torch.manual_seed(0)
    fuse = FUSIONS[name](3, D, 2, 4)
    tokens, there = tokens_of()
    torch.testing.assert_close(fuse(tokens[2:3], there[2:3]), fuse(tokens, there)[2:3])
    shaped = fuse(tokens.view(2, 3, 4, D), there.view(2, 3, 4))
    torch.testing.assert_close(shaped.view(6, D), fuse(tokens, there))


def test_concatenation_is_the_sum_of_what_is_there():
    tokens, there = tokens_of()
    expected = torch.stack([row[mask].sum(0) for row, mask in zip(tokens, there, strict=True)])
    torch.testing.assert_close(FUSIONS["concat"](3, D, 2, 4)(tokens, there), expected)


def test_gates_sum_to_the_number_of_views_that_are_there():
    gated = FUSIONS["gated"](3, D, 2, 4)
    _, there = tokens_of()
    ones = torch.ones(6, 4, D)
    torch.testing.assert_close(gated(ones, there), there.sum(1, keepdim=True).float().expand(-1, D))


def test_low_rank_fusion_multiplied_out_by_hand():
    torch.manual_seed(0)
    bilinear, tokens = FUSIONS["bilinear"](1, D, 2, 2), torch.randn(1, 2, D)
    there = torch.ones(1, 2, dtype=torch.bool)
    u = [factor(tokens[0, place]).view(2, D) for place, factor in enumerate(bilinear.factors)]
    by_hand = (u[0] + u[1] + u[0] * u[1]).mean(0)  # each alone, and the pair
    torch.testing.assert_close(bilinear(tokens, there)[0], by_hand)
    one = torch.tensor([[False, True]])
    torch.testing.assert_close(bilinear(tokens, one)[0], u[1].mean(0))


def test_attention_of_the_id_alone_is_itself_and_what_it_makes_of_itself():
    torch.manual_seed(0)
    attention, tokens = multiview.Attention(2, D, 2, 1), torch.randn(1, 3, D)
    only = torch.tensor([[False, False, True]])
    value = attention.mix(tokens[0, 2])[2 * D :]
    torch.testing.assert_close(attention(tokens, only)[0], tokens[0, 2] + attention.out(value))


def test_views_are_standardised_by_the_items_that_they_know():
    vectors = np.array([[0, 0], [3, 1], [1, 3], [0, 0]], np.float32)
    found, present = standardised(ItemView(vectors, np.array([False, True, True, False])))
    torch.testing.assert_close(found[1:4], torch.tensor([[1.0, -1], [-1, 1], [0, 0]]) / 2**0.5)
    assert present.tolist() == [False, True, True, False, False]  # padding, three items, [MASK]


@pytest.mark.parametrize(("name", "kind"), list(product(FUSIONS, ("mask", "token"))))
def test_nothing_missing_ever_makes_a_score_that_is_no_number(build_views, sequences, name, kind):
    model = build_views(fusion=name, missing=kind)
    model.table.present.zero_()
    loss = encode(model, sequences).square().sum()
    loss.backward()
    for parameter in model.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()
    assert torch.isfinite(loss)


def test_with_the_ids_at_zero_an_item_that_nothing_is_known_of_is_zero(build_views):
    model = build_views().eval()
    unknown = build_views(("graph",)).eval()
    assert not unknown.item_vectors(torch.tensor([3, 6])).any()
    assert unknown.item_vectors(torch.tensor([1, 2])).abs().sum(1).min() > 0
    assert model.item_vectors(torch.tensor([3, 6])).abs().sum(1).min() > 0  # their text is


def test_a_token_stands_for_what_is_missing(build_views):
    model = build_views(("graph",), missing="token").eval()
    with torch.no_grad():
        assert not model.table.tokens.weight.any()  # as they start
        model.table.tokens.weight.fill_(2.0)
    assert (model.item_vectors(torch.tensor([3, 6])) == 2.0).all()
    assert not (model.item_vectors(torch.tensor([1])) == 2.0).any()


def test_modality_dropout_leaves_out_the_share_that_it_should_and_only_in_training(build_views):
    table: Views = build_views(("graph",), modality_dropout=0.3).table
    known = torch.ones(20_000, dtype=torch.int64)
    table.eval()
    assert table.known(known).all()
    table.train()
    torch.manual_seed(0)
    assert float(table.known(known).float().mean()) == pytest.approx(0.7, abs=0.02)
    assert not table.known(torch.full((100,), 3)).any()  # not there to begin with


@pytest.mark.parametrize(("name", "kind"), list(product(FUSIONS, ("mask", "token"))))
def test_shares_sum_to_the_score(build_views, name, kind):
    model = build_views(fusion=name, missing=kind).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    state, items = torch.randn(model.table.ids.weight.shape[1]), torch.arange(1, 13)
    found = shares(model, state, items)
    assert set(found) == {"text", "graph", "image", "ID" if kind == "mask" else "ID and tokens"}
    torch.testing.assert_close(sum(found.values()), model.item_vectors(items) @ state, rtol=1e-4, atol=1e-4)
    assert not found["graph"][2::3].any()  # who does not know the item says nothing
    assert not found["image"][3::4].any()


def test_shares_of_a_sum_are_its_parts(build_views):
    model = build_views().eval()
    state, items = torch.randn(model.table.ids.weight.shape[1]), torch.arange(1, 9)
    table = model.table
    text = table.project[0](table.of("text")[items]) @ state
    torch.testing.assert_close(shares(model, state, items)["text"], text)


def test_views_that_are_not_there_are_named(build):
    with pytest.raises(InputError, match=r"'methods.multiview.views' names 'graph', and there are text: put it into"):
        build(method="multiview", changes={"methods.multiview.views": ["text", "graph"]})
