"""LLM-ESR: the dual view, its switches, the frozen table, the mediator's stop-gradient."""

import pytest
import torch
import torch.nn.functional as F
from conftest import overview, ragged, states_of
from llmesr.models.backbones import BACKBONES
from llmesr.models.contract import Overview
from llmesr.models.dual_view import Adapter
from llmesr.models.scoring import represent
from llmesr.train.objectives import make_batch
from torch import nn

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


def test_score_is_the_sum_of_both_views(build):
    model = build().eval()
    items = torch.tensor([3, 8])
    se, co = model.view.views(items)
    torch.testing.assert_close(co, model.view.collaborative.weight[items])
    torch.testing.assert_close(se, model.view.adapter(model.view.semantic[items]))
    user = states_of(model, ragged([1, 2, 3]))[-1]
    torch.testing.assert_close(model.item_vectors(items) @ user, se @ user[:32] + co @ user[32:])


def test_each_fused_view_consists_of_its_own_values(build):
    """The semantic output is a mix of semantic values; the other view only decides the weights."""
    view = build().view
    whole = ragged([1, 2, 3])
    se, co = torch.randn(2, 3, 32)
    constant = torch.ones(3, 1) * torch.randn(1, 32)  # equal values give themselves, however they are weighted
    fused = view.fuse(constant, co, whole)
    torch.testing.assert_close(fused[:, 0], view.to_semantic.out(view.to_semantic.value(constant)))
    assert not torch.allclose(view.fuse(se, co, whole)[:, 0], view.fuse(se, -co, whole)[:, 0])
    assert not torch.allclose(view.fuse(se, co, whole)[:, 1], view.fuse(-se, co, whole)[:, 1])


def test_residual_adds_the_view(build):
    plain, residual = build().view, build(methods__llmesr__fusion_residual=True).view
    se, co, whole = *torch.randn(2, 3, 32), ragged([1, 2, 3])
    expected = plain.fuse(se, co, whole) + torch.stack([se, co], 1)
    torch.testing.assert_close(residual.fuse(se, co, whole), expected)


@pytest.mark.parametrize("backbone", ["sasrec", "bert4rec"])
def test_padding_is_attended_to_by_llmesr_alone_and_if_it_is_asked_for(build, backbone):
    def padded_to(**changes):
        return [block.attention.padded_to for block in build(backbone, **changes).backbone.blocks.blocks]

    assert padded_to() == [20, 20]
    assert padded_to(methods__llmesr__attend_padding=False) == [None, None]
    assert padded_to(method="none") == [None, None]


def test_one_backbone_reads_both_views(build):
    """With equal views and equal attentions, a shared encoder gives equal halves."""
    model = build().eval()
    model.view.to_semantic.load_state_dict(model.view.to_collaborative.state_dict())
    whole = ragged([1, 2, 3])
    vectors = model.view.collaborative(whole.items).repeat(1, 2)
    semantic, collaborative = model.states(whole, vectors).chunk(2, -1)
    torch.testing.assert_close(semantic, collaborative)


def test_without_a_view_only_the_other_is_seen(build):
    for views, gone in (("semantic", "view.collaborative.weight"), ("collaborative", "view.adapter.layers.0.weight")):
        model = build(methods__llmesr__views=views)
        whole = ragged([1, 2, 3], [4, 5])
        states = states_of(model, whole)
        assert states.shape == (5, 32)
        (states @ model.item_vectors(torch.tensor([7, 8])).T).sum().backward()
        gradients = {name: value.grad for name, value in model.named_parameters()}
        assert gradients[gone] is None
        assert gradients["backbone.blocks.norm.weight"].abs().sum() > 0


def test_an_encoder_of_its_own_for_each_view(build):
    """Apart they have weights of their own; with equal weights they are the shared one."""
    shared, apart = build().eval(), build(methods__llmesr__shared_encoder=False).eval()
    first, second = (part.blocks.blocks[0].attention.query.weight for part in (apart.backbone, apart.second))
    assert not torch.equal(first, second)
    whole = ragged([1, 2, 3], [4, 5])
    apart.load_state_dict(shared.state_dict(), strict=False)
    apart.second.load_state_dict(shared.backbone.state_dict())
    torch.testing.assert_close(states_of(apart, whole), states_of(shared, whole))


def test_without_fusion_the_views_do_not_meet_before_the_score(build):
    def semantic_half(**changes):
        model = build(**changes).eval()
        whole = ragged([1, 2, 3])
        vectors = model.item_vectors(whole.items)
        other = torch.cat([vectors[:, :32], vectors[:, 32:].flip(0)], 1)
        return [model.states(whole, part)[:, :32] for part in (vectors, other)]

    assert torch.equal(*semantic_half(methods__llmesr__fusion=False))
    assert not torch.equal(*semantic_half())


def test_the_collaborative_table_starts_at_the_pca_or_at_random(build, embeddings):
    initial = torch.from_numpy(embeddings.initial)
    assert torch.equal(build().view.collaborative.weight[:-1], initial)
    random = build(methods__llmesr__initial="random").view.collaborative.weight
    assert not torch.isclose(random[1:-1], initial[1:]).any(1).any()
    assert (random[0] == 0).all()


def test_semantic_table_is_frozen_and_the_rest_learns(build):
    model = build()
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


def encoder(model, sequences):
    return overview(model, sequences).encode_users


@pytest.mark.parametrize("refresh", ["epoch", "step"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_mediator_is_the_mean_of_the_teachers_without_gradient(build, sequences, backbone, refresh):
    model = build(backbone, methods__llmesr__mediator_refresh=refresh)
    model.start_epoch(overview(model, sequences))
    users = torch.tensor([4, 0])
    mediators = model.mediators(users)
    assert not mediators.requires_grad
    for row, user in enumerate(users):
        teachers = model.neighbours[user]
        assert user not in teachers
        expected = represent(model, sequences, teachers, 48, 20, hide_last=True).mean(0)
        torch.testing.assert_close(mediators[row], expected)
    assert model.training  # encoding teachers must not leave the student in evaluation mode


def test_gradient_of_the_distillation_is_that_of_a_constant_target(build, sequences):
    model = build(methods__llmesr__alpha=0.7)
    model.start_epoch(overview(model, sequences))
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


def test_alpha_zero_asks_for_no_teacher(build):
    model = build(methods__llmesr__alpha=0.0)
    model.start_epoch(Overview(0, 0, None, lambda users: pytest.fail("teachers were encoded"), None, None, None, None))
    assert model.extra_loss(None, None) is None


@pytest.mark.parametrize("backbone", BACKBONES)
def test_student_is_encoded_as_its_teachers_are(build, sequences, backbone):
    """The state that is taught is the one that `represent(hide_last=True)` gives, but for dropout and masks."""
    model = build(backbone).eval()
    users = torch.tensor([0, 3, 5])
    batch = make_batch(model.backbone, sequences, users, 48, 20)
    students = states_of(model, batch.inputs)[batch.last]
    torch.testing.assert_close(students, encoder(model, sequences)(users), atol=1e-5, rtol=1e-4)
