"""Models: masks, the dual view, the frozen table, the mediator's stop-gradient, scoring."""

import itertools

import numpy as np
import pytest
import torch
from conftest import ragged, states_of
from llmesr.errors import InputError
from llmesr.models import scoring
from llmesr.models.backbones import BACKBONES, gru4rec
from llmesr.models.methods import METHODS
from llmesr.models.scoring import full_ranks, item_table, recommend, represent, sampled_ranks

ALL = list(itertools.product(BACKBONES, METHODS))


# --- backbones and methods ---


@pytest.mark.parametrize(("backbone", "method"), ALL)
def test_a_sequence_is_encoded_the_same_alone_and_in_company(build, backbone, method):
    model = build(backbone, method).eval()
    rows = [[3, 4, 5], [7], [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8], [9, 9]]
    together = states_of(model, ragged(*rows)).split([len(row) for row in rows])
    for row, states in zip(rows, together, strict=True):
        torch.testing.assert_close(states_of(model, ragged(row)), states, atol=1e-5, rtol=1e-4)


def future_matters(model):
    """Tell whether an earlier state changes when the last item does."""
    model.eval()
    return not torch.allclose(
        states_of(model, ragged([1, 2, 3, 4]))[:3], states_of(model, ragged([1, 2, 3, 9]))[:3], atol=1e-6
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backbone", ["gru4rec", "sasrec"])
def test_no_state_sees_a_later_item(build, backbone, method):
    assert not future_matters(build(backbone, method, methods__llmesr__fusion_causal=True))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_last_states_alone_are_those_of_all(build, backbone, method):
    model = build(backbone, method).eval()
    whole = ragged([1, 2, 3], [4], [5, 6, 7, 8, 9, 1, 2])
    vectors = model.item_vectors(whole.items)
    expected = model.states(whole, vectors)[whole.last]
    torch.testing.assert_close(model.states(whole, vectors, last_only=True), expected, atol=1e-6, rtol=1e-4)


def test_switches_that_let_the_future_in(build):
    assert future_matters(build(method="none", backbones__sasrec__causal=False))
    assert future_matters(build(methods__llmesr__fusion_causal=False))
    assert future_matters(build("gru4rec", methods__llmesr__fusion_causal=False))
    assert future_matters(build("bert4rec", "none"))


def test_a_cloze_is_fused_from_both_sides_whatever_the_switch(build):
    assert not build("bert4rec", methods__llmesr__fusion_causal=True).view.causal


@pytest.mark.parametrize("stretch", [1, 2, 3, 8])
@pytest.mark.parametrize("layers", [1, 2])
def test_gru_equals_pytorch_on_each_sequence_and_so_do_gradients(build, stretch, layers, monkeypatch):
    monkeypatch.setattr(gru4rec, "STRETCH", stretch)
    model = build("gru4rec", "none", backbones__gru4rec__layers=layers)
    whole = ragged([3, 4, 5], [7], [], [1, 2, 8, 9, 3])
    x = torch.randn(9, 2, 32, requires_grad=True)
    alone = x.new_empty(x.shape)
    for rows, view in itertools.product([slice(0, 3), slice(3, 4), slice(4, 9)], range(2)):
        alone[rows, view] = model.backbone.gru(x[rows, view][None])[0][0]
    found = model.backbone.encode(x, whole)
    torch.testing.assert_close(found, alone)
    read = ragged([3, 4, 5], [7], [1, 2, 8, 9, 3])
    assert torch.equal(model.backbone.encode(x, read, last_only=True), model.backbone.encode(x, read)[[2, 3, 8]])
    weights = torch.randn(9, 2, 32)
    gradients = [torch.autograd.grad((states * weights).sum(), x)[0] for states in (found, alone)]
    torch.testing.assert_close(*gradients)


def test_positions_count_back_from_the_latest_item(build):
    positions = build("sasrec", "none").eval().backbone.positions
    placed = positions(torch.zeros(5, 32), ragged([1, 2, 3], [4, 5]))
    torch.testing.assert_close(placed[[2, 4]], positions.table.weight[[0, 0]])
    torch.testing.assert_close(placed[0], positions.table.weight[2])


def test_same_seed_same_weights(build):
    first, again, other = (build(seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["view.adapter.layers.0.weight"], other["view.adapter.layers.0.weight"])


def test_tables_start_where_the_method_says(build, embeddings):
    initial = torch.from_numpy(embeddings.initial)
    for table in (build(method="llminit").table, build().view.collaborative):
        torch.testing.assert_close(table.weight[:-1], initial)
        assert table.weight.requires_grad
    random = build(method="none").table.weight
    assert not torch.allclose(random[1:-1], initial[1:])
    assert (random[0] == 0).all()
    assert random.shape == (len(initial) + 1, 32)


# --- scoring ---


def test_ranks_by_hand():
    table = torch.tensor([[0.0], [5.0], [3.0], [3.0], [1.0], [4.0]])  # row 0 is padding
    states = torch.ones(2, 1)
    negatives = np.array([[1, 3, 4], [4, 0, 0]])  # 0: too few negatives
    # target 2 scores 3: item 1 above, item 3 equal, item 4 below; target 5 scores 4: item 4 below
    assert sampled_ranks(states, table, np.array([2, 5]), negatives).tolist() == [2.5, 1.0]
    # among all: above 2 are 1 and 5, equal is 3
    assert full_ranks(states, table, np.array([2, 5]), None).tolist() == [3.5, 2.0]
    # the first has had 1 and the target 2 itself, the second has had nothing above
    assert full_ranks(states, table, np.array([2, 5]), ragged([1, 2], [4])).tolist() == [2.5, 2.0]


def test_a_model_of_nonsense_ranks_its_targets_last():
    table, states = torch.ones(4, 2), torch.full((1, 2), torch.nan)
    assert sampled_ranks(states, table, np.array([1]), np.array([[2, 3]])).tolist() == [3.0]
    assert full_ranks(states, table, np.array([1]), None).tolist() == [3.0]


def test_blocks_do_not_change_ranks_or_representations(build, sequences, data, monkeypatch):
    model = build()
    users = torch.tensor(data.validation.users, dtype=torch.int64)

    def everything():
        states = represent(model, sequences, users, 48, 20)
        table = item_table(model, 48)
        asked = data.validation
        return (
            states,
            sampled_ranks(states, table, asked.items, asked.negatives),
            full_ranks(states, table, asked.items, sequences),
        )

    whole = everything()
    monkeypatch.setattr(scoring, "BLOCK_USERS", 7)
    for one, other in zip(whole, everything(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_recommendations_are_the_best_of_what_is_new(build, backbone):
    model = build(backbone).eval()
    history = ragged([1, 2, 3])
    best = recommend(model, history, 48, 45, 200)
    assert sorted(best) == list(range(4, 49))
    query = history.append(49) if backbone == "bert4rec" else history
    scores = item_table(model, 48) @ states_of(model, query)[-1]
    assert best == sorted(best, key=lambda item: -scores[item].item())


# --- errors ---


def test_sizes_that_do_not_fit_are_named(build):
    with pytest.raises(InputError, match=r"'backbones.sasrec.heads' is 5, which does not divide 'model.hidden' \(32\)"):
        build(backbones__sasrec__heads=5)
    with pytest.raises(InputError, match=r"'methods.cities.heads' is 5, which does not divide 'model.hidden' \(32\)"):
        build(method="cities", methods__cities__heads=5)
    build(method="none", methods__llmesr__fusion_heads=5)  # which it has no use for
    with pytest.raises(InputError, match=r"reduced to 32 dimensions and 'model.hidden' is 16: run `dvc repro embed`"):
        build(model__hidden=16)
