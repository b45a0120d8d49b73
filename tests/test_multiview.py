"""A set of views: what is missing has no influence, the parts of a score sum to it, the fusions are what they say."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import polars as pl
import pytest
import torch
from conftest import changed, states_of
from llmesr import models, study
from llmesr.embed import View
from llmesr.errors import InputError
from llmesr.models import fusion
from llmesr.models.fusion import FUSIONS, Views
from llmesr.models.methods.multiview import shares, standardised
from llmesr.report import modalities as look
from llmesr.study import missing

D = 8


@pytest.fixture
def attached(embeddings, data):
    """Embeddings with two further views, each of which lacks some of the items."""
    rng = np.random.default_rng(3)
    views = {}
    for name, width, every in (("graph", 5, 3), ("image", 9, 4)):
        present = np.arange(data.n_items + 1) % every > 0
        present[0] = False
        views[name] = View(rng.normal(size=(data.n_items + 1, width)).astype(np.float32) * present[:, None], present)
    return replace(embeddings, views=views)


@pytest.fixture
def build_views(tiny, attached, similar):
    def make(names=("text", "graph", "image"), seed=0, **own):
        keys = {f"methods__multiview__{key}": value for key, value in {"views": list(names), **own}.items()}
        return models.build(changed(tiny, **keys), "sasrec", "multiview", seed, attached, similar)

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
    attention, tokens = fusion.Attention(2, D, 2, 1), torch.randn(1, 3, D)
    only = torch.tensor([[False, False, True]])
    value = attention.mix(tokens[0, 2])[2 * D :]
    torch.testing.assert_close(attention(tokens, only)[0], tokens[0, 2] + attention.out(value))


def test_views_are_standardised_by_the_items_that_they_know():
    vectors = np.array([[0, 0], [3, 1], [1, 3], [0, 0]], np.float32)
    found, present = standardised(View(vectors, np.array([False, True, True, False])))
    torch.testing.assert_close(found[1:4], torch.tensor([[1.0, -1], [-1, 1], [0, 0]]) / 2**0.5)
    assert present.tolist() == [False, True, True, False, False]  # padding, three items, [MASK]


@pytest.mark.parametrize(("name", "kind"), product(FUSIONS, ("mask", "token")))
def test_nothing_missing_ever_makes_a_score_that_is_no_number(build_views, sequences, name, kind):
    model = build_views(fusion=name, missing=kind)
    model.table.present.zero_()
    loss = states_of(model, sequences).square().sum()
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


@pytest.mark.parametrize(("name", "kind"), product(FUSIONS, ("mask", "token")))
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


def test_views_that_are_not_attached_are_named(tiny, embeddings, similar):
    settings = changed(tiny, methods__multiview__views=["text", "graph"])
    with pytest.raises(InputError, match="names 'graph', which only a variant of the study can have"):
        models.build(settings, "sasrec", "multiview", 0, embeddings, similar)


def test_hiding_more_hides_the_same_items_and_more(build_views):
    model = build_views()
    whole, kept = model.table.present.clone(), []
    for share in (0.0, 0.4, 0.8, 1.0):
        model.table.present.copy_(whole)
        missing.hide(model.table, ("graph",), share, 7)
        kept.append(model.table.present.clone())
    graph, others = model.table.names.index("graph"), [model.table.names.index(name) for name in ("text", "image")]
    assert (kept[0] == whole).all()
    assert not kept[-1][:, graph].any()
    for more, less in pairwise(kept):
        assert (less[:, graph] <= more[:, graph]).all()
        assert less[:, graph].sum() < more[:, graph].sum()
        assert (less[:, others] == whole[:, others]).all()


def test_missing_views_are_measured_view_by_view(tiny, data, attached, similar, monkeypatch):
    change = {"methods": {"multiview": {"views": ["text", "graph"]}}}
    variants = {"fuse-it": {"study": "fusion", "method": "multiview", "label": "Both", "change": change}}
    settings = changed(tiny, study__variants=variants, study__seeds=[42], train__epochs=2)
    monkeypatch.setattr(study.embed, "load", lambda _: attached)
    monkeypatch.setattr(missing.retrieve, "load", lambda _: similar)
    monkeypatch.setattr(study.modalities, "attach", lambda *arguments: arguments[-1])
    own = study.changed(settings, "fuse-it")
    missing.train.run(own, data, attached, similar, "sasrec", "multiview", 42, variant="fuse-it")
    found = missing.run(settings, data, ("fuse-it",), (0.0, 1.0))
    assert found.select("hidden", "share").unique(maintain_order=True).rows() == [
        ("text", 0.0), ("text", 1.0), ("graph", 0.0), ("graph", 1.0),
    ]  # fmt: skip
    untouched = found.filter(metric="NDCG@10", share=0.0)["value"]
    trained = missing.load_variant(settings, data, "fuse-it", 42).account["validation_NDCG@10"]
    assert untouched.to_list() == pytest.approx([trained, trained])
    other = found.filter(hidden="graph").with_columns(variant=pl.lit("another"))  # which lacks the first panel's view
    figure = look.missing_curves(pl.concat([other, found]), {"fuse-it": "Both", "another": "Other"}, "NDCG@10")
    colours = [{line.get_color() for line in axis.lines if len(line.get_xdata())} for axis in figure.axes]
    assert colours[0] & colours[1]
    assert len(colours[0] | colours[1]) == 2
    table = look.missing_table(found, {"fuse-it": "Both"}, "NDCG@10")
    assert table.splitlines()[0] == "| Variant | Hidden | 0% | 100% |"
    assert f"| Both | text | {trained:.4f} |" in table


def test_bars_are_as_long_as_the_shares():
    shares = {"text": np.array([0.75, 1.5]), "ID": np.array([0.25, -0.5])}
    axis = look.share_bars(shares, ["Heat", "Fargo"]).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["Heat", "Fargo"]
    assert [[bar.get_width() for bar in group] for group in axis.containers] == [[0.75, 1.5], [0.25, -0.5]]
    found = pl.DataFrame({"view": ["words"], "items": [9], "of the tail": [0.05], "of the head": [0.3]})
    axis = look.coverage_bars(found).axes[0]
    assert [bar.get_width() for group in axis.containers for bar in group] == [0.05, 0.3]
    assert look.coverage_bars(found.clear()).axes[0].get_xlim() == (0, 1)  # no view is known of any item
