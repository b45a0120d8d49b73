"""Models: masks, the dual view, the frozen table, the mediator's stop-gradient, scoring."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import changed, ragged
from llmesr import models
from llmesr.errors import InputError
from llmesr.models import scoring
from llmesr.models.backbones import BACKBONES
from llmesr.models.contract import Lesson
from llmesr.models.dual_view import Adapter
from llmesr.models.methods import METHODS
from llmesr.models.ragged import Ragged
from llmesr.models.scoring import full_ranks, item_table, recommend, represent, sampled_ranks
from llmesr.train import loop
from llmesr.train.loop import Task
from llmesr.train.objectives import make_batch
from torch import nn

ALL = list(itertools.product(BACKBONES, METHODS))


def build(given, backbone="sasrec", method="llmesr", seed=0, **changes):
    tiny, embeddings, similar = given
    return models.build(changed(tiny, **changes), backbone, method, seed, embeddings, similar)


def states_of(model, sequences):
    return model.states(sequences, model.item_vectors(sequences.items))


@pytest.fixture
def given(tiny, embeddings, similar):
    return tiny, embeddings, similar


# --- backbones and methods ---


@pytest.mark.parametrize(("backbone", "method"), ALL)
def test_a_sequence_is_encoded_the_same_alone_and_in_company(given, backbone, method):
    model = build(given, backbone, method).eval()
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
def test_no_state_sees_a_later_item(given, backbone, method):
    assert not future_matters(build(given, backbone, method, methods__llmesr__fusion_causal=True))


def test_switches_that_let_the_future_in(given):
    assert future_matters(build(given, method="none", backbones__sasrec__causal=False))
    assert future_matters(build(given, methods__llmesr__fusion_causal=False))
    assert future_matters(build(given, "gru4rec", methods__llmesr__fusion_causal=False))
    assert future_matters(build(given, "bert4rec", "none"))


def test_a_cloze_is_fused_from_both_sides_whatever_the_switch(given):
    assert not build(given, "bert4rec", methods__llmesr__fusion_causal=True).view.causal


def test_gru_equals_pytorch_on_each_sequence(given):
    model = build(given, "gru4rec", "none")
    whole = ragged([3, 4, 5], [7], [1, 2])
    x = torch.randn(6, 2, 32)
    found = model.backbone.encode(x, whole)
    for rows, view in itertools.product([slice(0, 3), slice(3, 4), slice(4, 6)], range(2)):
        torch.testing.assert_close(found[rows, view], model.backbone.gru(x[rows, view][None])[0][0])


def test_positions_count_back_from_the_latest_item(given):
    positions = build(given, "sasrec", "none").eval().backbone.positions
    placed = positions(torch.zeros(5, 32), ragged([1, 2, 3], [4, 5]))
    torch.testing.assert_close(placed[[2, 4]], positions.table.weight[[0, 0]])
    torch.testing.assert_close(placed[0], positions.table.weight[2])


def test_same_seed_same_weights(given):
    first, again, other = (build(given, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["view.adapter.layers.0.weight"], other["view.adapter.layers.0.weight"])


def test_tables_start_where_the_method_says(given):
    _, embeddings, _ = given
    initial = torch.from_numpy(embeddings.initial)
    for table in (build(given, method="llminit").table, build(given).view.collaborative):
        torch.testing.assert_close(table.weight[:-1], initial)
        assert table.weight.requires_grad
    random = build(given, method="none").table.weight
    assert not torch.allclose(random[1:-1], initial[1:])
    assert (random[0] == 0).all()
    assert random.shape == (len(initial) + 1, 32)


# --- the dual view ---


@pytest.mark.parametrize("layers", [1, 2])
def test_adapter_equals_its_layers_one_by_one_also_in_gradient(layers):
    torch.manual_seed(0)
    adapter, x = Adapter(24, 8, layers), torch.randn(5, 24)
    stacked = nn.Sequential(*adapter.layers)
    torch.testing.assert_close(adapter(x), stacked(x))
    found, wanted = (
        torch.autograd.grad(module(x).square().sum(), list(adapter.parameters())) for module in (adapter, stacked)
    )
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)
    assert len(adapter.layers) == layers


def test_score_is_the_sum_of_both_views(given):
    model = build(given).eval()
    items = torch.tensor([3, 8])
    se, co = model.view.views(items)
    torch.testing.assert_close(co, model.view.collaborative.weight[items])
    torch.testing.assert_close(se, model.view.adapter(model.view.semantic[items]))
    user = states_of(model, ragged([1, 2, 3]))[-1]
    torch.testing.assert_close(model.item_vectors(items) @ user, se @ user[:32] + co @ user[32:])


def test_each_fused_view_consists_of_its_own_values(given):
    """The semantic output is a mix of semantic values; the other view only decides the weights."""
    view = build(given).view
    whole = ragged([1, 2, 3])
    se, co = torch.randn(2, 3, 32)
    constant = torch.ones(3, 1) * torch.randn(1, 32)  # equal values give themselves, however they are weighted
    fused = view.fuse(constant, co, whole)
    torch.testing.assert_close(fused[:, 0], view.to_semantic.out(view.to_semantic.value(constant)))
    assert not torch.allclose(view.fuse(se, co, whole)[:, 0], view.fuse(se, -co, whole)[:, 0])
    assert not torch.allclose(view.fuse(se, co, whole)[:, 1], view.fuse(-se, co, whole)[:, 1])


def test_residual_adds_the_view(given):
    plain, residual = build(given).view, build(given, methods__llmesr__fusion_residual=True).view
    se, co, whole = *torch.randn(2, 3, 32), ragged([1, 2, 3])
    expected = plain.fuse(se, co, whole) + torch.stack([se, co], 1)
    torch.testing.assert_close(residual.fuse(se, co, whole), expected)


@pytest.mark.parametrize("backbone", ["sasrec", "bert4rec"])
def test_padding_is_attended_to_by_llmesr_alone_and_if_it_is_asked_for(given, backbone):
    def padded_to(**changes):
        return [block.attention.padded_to for block in build(given, backbone, **changes).backbone.blocks.blocks]

    assert padded_to() == [20, 20]
    assert padded_to(methods__llmesr__attend_padding=False) == [None, None]
    assert padded_to(method="none") == [None, None]


def test_one_backbone_reads_both_views(given):
    """With equal views and equal attentions, a shared encoder gives equal halves."""
    model = build(given).eval()
    model.view.to_semantic.load_state_dict(model.view.to_collaborative.state_dict())
    whole = ragged([1, 2, 3])
    vectors = model.view.collaborative(whole.items).repeat(1, 2)
    semantic, collaborative = model.states(whole, vectors).chunk(2, -1)
    torch.testing.assert_close(semantic, collaborative)


def test_without_a_view_only_the_other_is_seen(given):
    for views, gone in (("semantic", "view.collaborative.weight"), ("collaborative", "view.adapter.layers.0.weight")):
        model = build(given, methods__llmesr__views=views)
        whole = ragged([1, 2, 3], [4, 5])
        states = states_of(model, whole)
        assert states.shape == (5, 32)
        (states @ model.item_vectors(torch.tensor([7, 8])).T).sum().backward()
        gradients = {name: value.grad for name, value in model.named_parameters()}
        assert gradients[gone] is None
        assert gradients["backbone.blocks.norm.weight"].abs().sum() > 0


def test_an_encoder_of_its_own_for_each_view(given):
    """Apart they have weights of their own; with equal weights they are the shared one."""
    shared, apart = build(given).eval(), build(given, methods__llmesr__shared_encoder=False).eval()
    first, second = (part.blocks.blocks[0].attention.query.weight for part in (apart.backbone, apart.second))
    assert not torch.equal(first, second)
    whole = ragged([1, 2, 3], [4, 5])
    apart.load_state_dict(shared.state_dict(), strict=False)
    apart.second.load_state_dict(shared.backbone.state_dict())
    torch.testing.assert_close(states_of(apart, whole), states_of(shared, whole))


def test_without_fusion_the_views_do_not_meet_before_the_score(given):
    def semantic_half(**changes):
        model = build(given, **changes).eval()
        whole = ragged([1, 2, 3])
        vectors = model.item_vectors(whole.items)
        other = torch.cat([vectors[:, :32], vectors[:, 32:].flip(0)], 1)
        return [model.states(whole, part)[:, :32] for part in (vectors, other)]

    assert torch.equal(*semantic_half(methods__llmesr__fusion=False))
    assert not torch.equal(*semantic_half())


def test_the_collaborative_table_starts_at_the_pca_or_at_random(given):
    _, embeddings, _ = given
    initial = torch.from_numpy(embeddings.initial)
    assert torch.equal(build(given).view.collaborative.weight[:-1], initial)
    random = build(given, methods__llmesr__initial="random").view.collaborative.weight
    assert not torch.isclose(random[1:-1], initial[1:]).any(1).any()
    assert (random[0] == 0).all()


def test_semantic_table_is_frozen_and_the_rest_learns(given):
    model = build(given)
    semantic = model.view.semantic.clone()
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    states = states_of(model, ragged([1, 2, 3, 4], [5, 6]))
    (states.square().sum() + model.item_vectors(torch.arange(9)).square().sum()).backward()
    optimizer.step()
    assert torch.equal(model.view.semantic, semantic)
    assert not model.view.semantic.requires_grad
    assert "view.semantic" not in model.state_dict()
    assert (model.view.collaborative.weight[1] != before["view.collaborative.weight"][1]).any()
    assert (model.view.adapter.layers[0].weight != before["view.adapter.layers.0.weight"]).any()


# --- self-distillation ---


def lesson(model, sequences):
    return loop.lesson(model, Task(sequences, 48, 20, None), seed=0, epoch=0)


def encoder(model, sequences):
    return lesson(model, sequences).encode_users


@pytest.fixture
def sequences(data):
    return Ragged.of(data.train.items, data.train.lengths)


@pytest.mark.parametrize("refresh", ["epoch", "step"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_mediator_is_the_mean_of_the_teachers_without_gradient(given, sequences, backbone, refresh):
    model = build(given, backbone, methods__llmesr__mediator_refresh=refresh)
    model.start_epoch(lesson(model, sequences))
    users = torch.tensor([4, 0])
    mediators = model.mediators(users)
    assert not mediators.requires_grad
    for row, user in enumerate(users):
        teachers = model.neighbours[user]
        assert user not in teachers
        expected = represent(model, sequences, teachers, 48, 20, hide_last=True).mean(0)
        torch.testing.assert_close(mediators[row], expected)
    assert model.training  # encoding teachers must not leave the student in evaluation mode


def test_gradient_of_the_distillation_is_that_of_a_constant_target(given, sequences):
    model = build(given, methods__llmesr__alpha=0.7)
    model.start_epoch(lesson(model, sequences))
    users = torch.tensor([0, 1, 2])
    target = model.mediators(users).clone()
    torch.manual_seed(3)
    batch = make_batch(model.backbone, sequences, users, 48, 20)
    states = states_of(model, batch.inputs)
    loss = model.extra_loss(batch, states)
    taught = states[batch.last]
    assert loss.item() == pytest.approx(0.7 * F.mse_loss(taught, target).item())
    (gradient,) = torch.autograd.grad(loss, states)
    torch.testing.assert_close(gradient[batch.last], 0.7 * 2 * (taught - target) / taught.numel())
    assert gradient.count_nonzero() <= taught.numel()


def test_alpha_zero_asks_for_no_teacher(given):
    model = build(given, methods__llmesr__alpha=0.0)
    model.start_epoch(Lesson(0, 0, None, lambda users: pytest.fail("teachers were encoded"), None))
    assert model.extra_loss(None, None) is None


@pytest.mark.parametrize("backbone", BACKBONES)
def test_student_is_encoded_as_its_teachers_are(given, sequences, backbone):
    """The state that is taught is the one that `represent(hide_last=True)` gives, but for dropout and masks."""
    model = build(given, backbone).eval()
    users = torch.tensor([0, 3, 5])
    batch = make_batch(model.backbone, sequences, users, 48, 20)
    students = states_of(model, batch.inputs)[batch.last]
    torch.testing.assert_close(students, encoder(model, sequences)(users), atol=1e-5, rtol=1e-4)


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


def test_blocks_do_not_change_ranks_or_representations(given, sequences, data, monkeypatch):
    model = build(given)
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
def test_recommendations_are_the_best_of_what_is_new(given, backbone):
    model = build(given, backbone).eval()
    history = ragged([1, 2, 3])
    best = recommend(model, history, 48, k=45)
    assert sorted(best) == list(range(4, 49))
    query = history.append(49) if backbone == "bert4rec" else history
    scores = item_table(model, 48) @ states_of(model, query)[-1]
    assert best == sorted(best, key=lambda item: -scores[item].item())


# --- errors ---


def test_sizes_that_do_not_fit_are_named(given):
    with pytest.raises(InputError, match=r"'backbones.sasrec.heads' is 5, which does not divide 'model.hidden' \(32\)"):
        build(given, backbones__sasrec__heads=5)
    with pytest.raises(InputError, match=r"'methods.cities.heads' is 5, which does not divide 'model.hidden' \(32\)"):
        build(given, method="cities", methods__cities__heads=5)
    build(given, method="none", methods__llmesr__fusion_heads=5)  # which it has no use for
    with pytest.raises(InputError, match=r"reduced to 32 dimensions and 'model.hidden' is 16: run `dvc repro embed`"):
        build(given, model__hidden=16)
