"""LLM-ESR: equal to the paper's equations; its views, fusion and switches; the mediator, which has no gradient."""

import pytest
import torch
import torch.nn.functional as F
from helpers import ALONE, D, T, V, context_of, encode, sequences_of
from llmesr.models.backbones import BACKBONES
from llmesr.models.base import TrainContext
from llmesr.models.methods.llmesr import Adapter
from llmesr.models.scoring import Scorer
from llmesr.train import loop
from llmesr.train.loop import Step, Task
from llmesr.train.losses import RankingLoss
from llmesr.train.negatives import NegativeSampler
from llmesr.train.objectives import make_batch
from models.reference import reference_of, renamed
from torch import nn

# --- the whole model against the paper's equations ---


@pytest.fixture
def pair(build, tiny, float64):
    """Our model and the reference, of equal weights, without dropout; similar users are encoded in every step.

    In float64, since layer norm blows up rounding where a row hardly varies.
    """

    def make(**changes):
        own = {"alpha": 0.1, "mediator_refresh": "step", **changes}
        keys = {f"methods.llmesr.{name}": value for name, value in own.items()}
        model = build(changes=keys).double().eval()
        for bias in (b for name, b in model.named_parameters() if name.endswith("bias")):
            nn.init.normal_(bias, std=0.1)  # at zero, attended padding would have no say
        return model, reference_of(model, tiny.changed(keys)).eval()

    return make


OWN = [{}, {"attend_padding": False}, {"adapter_layers": 1, "fusion_heads": 1}]


@pytest.mark.parametrize("own", OWN)
def test_states_are_those_of_the_equations(pair, sequences, own):
    model, reference = pair(**own)
    whole = sequences.take(torch.arange(len(sequences)), T)
    rectangle = reference.rectangle(whole)
    torch.testing.assert_close(reference.states(rectangle)[rectangle > 0], encode(model, whole), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("own", OWN)
def test_the_loss_and_all_gradients_are_those_of_the_equations(pair, run_of, data, sequences, own):
    model, reference = pair(**own)
    task = Task(sequences, V, T, lambda _: data.validation)
    ranking = RankingLoss(run_of().train_settings, NegativeSampler(sequences, V))
    users = torch.randperm(len(sequences), generator=torch.Generator().manual_seed(1))[:13]
    model.on_epoch_start(loop.context(model, task, 0, 0, ALONE))
    torch.manual_seed(0)
    ours = Step(model, task, ranking, None, ALONE)(users)
    _, targets = reference.task(sequences, users)
    negatives = torch.zeros_like(targets)
    torch.manual_seed(0)
    negatives[targets > 0] = ranking.candidates(users[(targets > 0).nonzero()[:, 0]]).squeeze(1)
    theirs = reference.loss(sequences, users, negatives)
    torch.testing.assert_close(theirs, ours, rtol=1e-6, atol=0)
    ours.backward()
    theirs.backward()
    gradients = renamed({name: value.grad for name, value in model.named_parameters()})
    for name, value in reference.named_parameters():
        torch.testing.assert_close(
            value.grad, gradients[name], rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
    assert reference.mediators(sequences, users).abs().sum() > 0


def test_a_user_with_one_item_is_only_taught(pair):
    _, reference = pair()
    inputs, targets = reference.task(sequences_of([5], [1, 2, 3]), torch.tensor([0, 1]))
    assert inputs[:, -2:].tolist() == [[0, 5], [1, 2]]
    assert targets[:, -2:].tolist() == [[0, 0], [2, 3]]


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
    torch.testing.assert_close(found, wanted)
    assert len(adapter.layers) == layers


def test_score_is_the_sum_of_both_views(build):
    model = build().eval()
    items = torch.tensor([3, 8])
    se, co = model.item_vectors(items).chunk(2, -1)
    torch.testing.assert_close(co, model.collaborative.weight[items])
    torch.testing.assert_close(se, model.adapter(model.semantic[items]))
    user = encode(model, sequences_of([1, 2, 3]))[-1]
    torch.testing.assert_close(model.item_vectors(items) @ user, se @ user[:D] + co @ user[D:])


def test_each_fused_view_consists_of_its_own_values(build):
    """The semantic output is a mix of semantic values; the other view only decides the weights."""
    model, whole = build(), sequences_of([1, 2, 3])
    se, co = torch.randn(2, 3, D)
    constant = torch.ones(3, 1) * torch.randn(1, D)  # equal values give themselves, however they are weighted
    fused, _ = model.fuse(constant, co, whole)
    torch.testing.assert_close(fused, model.fuse_semantic.out(model.fuse_semantic.value(constant)))
    assert not torch.allclose(model.fuse(se, co, whole)[0], model.fuse(se, -co, whole)[0])
    assert not torch.allclose(model.fuse(se, co, whole)[1], model.fuse(-se, co, whole)[1])


def test_residual_adds_the_view(build):
    plain, residual = build(), build(changes={"methods.llmesr.fusion_residual": True})
    (se, co), whole = torch.randn(2, 3, D), sequences_of([1, 2, 3])
    for found, fused, view in zip(residual.fuse(se, co, whole), plain.fuse(se, co, whole), (se, co), strict=True):
        torch.testing.assert_close(found, fused + view)


def test_a_cloze_is_fused_from_both_sides_whatever_the_switch(build):
    def first(last):
        model = build("bert4rec", changes={"methods.llmesr.fusion_causal": True}).eval()
        (se, co), whole = torch.ones(2, 2, D).cumsum(1), sequences_of([1, 2])
        se[1] *= last
        return model.fuse(se, co, whole)[0][0]

    assert not torch.allclose(first(1), first(-1))


def test_one_backbone_reads_both_views(build):
    """With equal views and equal attentions, a shared encoder gives equal halves."""
    model = build().eval()
    model.fuse_semantic.load_state_dict(model.fuse_collaborative.state_dict())
    whole = sequences_of([1, 2, 3])
    semantic, collaborative = model.states(whole, model.collaborative(whole.items).repeat(1, 2)).chunk(2, -1)
    torch.testing.assert_close(semantic, collaborative)


@pytest.mark.parametrize(
    ("views", "gone"), [("semantic", "collaborative.weight"), ("collaborative", "adapter.layers.0.weight")]
)
def test_without_a_view_only_the_other_is_seen(build, views, gone):
    model, whole = build(changes={"methods.llmesr.views": views}), sequences_of([1, 2, 3], [4, 5])
    states = encode(model, whole)
    assert states.shape == (5, D)
    (states @ model.item_vectors(torch.tensor([7, 8])).T).sum().backward()
    gradients = {name: value.grad for name, value in model.named_parameters()}
    assert gradients[gone] is None
    assert gradients["backbone.transformer.norm.weight"].abs().sum() > 0


def test_an_encoder_of_its_own_for_each_view(build):
    """Apart they are trained apart; with equal weights they are the shared one."""
    shared, apart = build().eval(), build(changes={"methods.llmesr.shared_encoder": False}).eval()
    first, second = (part.transformer.blocks[0].attention.query for part in (apart.backbone, apart.semantic_backbone))
    assert not torch.equal(first.weight, second.weight)
    apart.load_state_dict(shared.state_dict(), strict=False)
    apart.semantic_backbone.load_state_dict(shared.backbone.state_dict())
    whole = sequences_of([1, 2, 3], [4, 5])
    torch.testing.assert_close(encode(apart, whole), encode(shared, whole))


def test_without_fusion_the_views_do_not_meet_before_the_score(build):
    def semantic_half(changes):
        model, whole = build(changes=changes).eval(), sequences_of([1, 2, 3])
        vectors = model.item_vectors(whole.items)
        other = torch.cat([vectors[:, :D], vectors[:, D:].flip(0)], 1)
        return [model.states(whole, part)[:, :D] for part in (vectors, other)]

    assert torch.equal(*semantic_half({"methods.llmesr.fusion": False}))
    assert not torch.equal(*semantic_half({}))


def test_the_collaborative_table_starts_at_the_pca_or_at_random(build, inputs):
    pca = torch.from_numpy(inputs.item_pca)
    assert torch.equal(build().collaborative.weight[:-1], pca)
    random = build(changes={"methods.llmesr.initial": "random"}).collaborative.weight
    assert not torch.isclose(random[1:-1], pca[1:]).any(1).any()
    assert not random[0].any()


def test_the_semantic_table_is_frozen_and_the_rest_learns(build):
    model = build()
    semantic = model.semantic.clone()
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    states = encode(model, sequences_of([1, 2, 3, 4], [5, 6]))
    (states.square().sum() + model.item_vectors(torch.arange(9)).square().sum()).backward()
    optimizer.step()
    assert torch.equal(model.semantic, semantic)
    assert not model.semantic.requires_grad
    assert "semantic" not in model.state_dict()
    assert (model.collaborative.weight[1] != before["collaborative.weight"][1]).any()
    assert (model.adapter.layers[0].weight != before["adapter.layers.0.weight"]).any()


# --- self-distillation ---


@pytest.mark.parametrize("refresh", ["epoch", "step"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_mediator_is_the_mean_of_similar_users_without_gradient(build, sequences, backbone, refresh):
    model = build(backbone, changes={"methods.llmesr.mediator_refresh": refresh})
    model.on_epoch_start(context_of(model, sequences))
    users = torch.tensor([4, 0])
    mediators = model.mediators(users)
    assert not mediators.requires_grad
    scorer = Scorer.of(model, V, T)
    for row, user in enumerate(users):
        similar = model.neighbours[user]
        assert user not in similar
        expected = scorer.states(sequences.take(similar), hide_last=True).mean(0)
        torch.testing.assert_close(mediators[row], expected)
    assert model.training  # encoding similar users must not leave the student in evaluation mode


def test_gradient_of_the_distillation_is_that_of_a_constant_target(build, sequences):
    model = build(changes={"methods.llmesr.alpha": 0.7})
    model.on_epoch_start(context_of(model, sequences))
    users = torch.tensor([0, 1, 2])
    target = model.mediators(users).clone()
    torch.manual_seed(3)
    batch = make_batch(model.backbone, sequences, users, V, T)
    states = encode(model, batch.inputs)
    loss = model.extra_loss(batch, states)
    taught = states[batch.last]
    assert loss.item() == pytest.approx(0.7 * F.mse_loss(taught, target).item())
    (gradient,) = torch.autograd.grad(loss, states)
    torch.testing.assert_close(gradient[batch.last], 0.7 * 2 * (taught - target) / taught.numel())
    assert gradient.count_nonzero() <= taught.numel()


def test_alpha_zero_asks_for_no_similar_users(build):
    model = build(changes={"methods.llmesr.alpha": 0.0})
    nobody = lambda users, **_: pytest.fail("similar users were encoded")  # noqa: E731
    model.on_epoch_start(TrainContext(0, 0, None, nobody, None, T, None, None))
    assert model.extra_loss(None, None) is None


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_user_is_encoded_as_the_similar_ones_are(build, sequences, backbone):
    """The state in the loss is the one that a mediator is made of, but for dropout and masks."""
    model = build(backbone).eval()
    users = torch.tensor([0, 3, 5])
    batch = make_batch(model.backbone, sequences, users, V, T)
    students = encode(model, batch.inputs)[batch.last]
    torch.testing.assert_close(students, context_of(model, sequences).encode_users(users), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_user_of_a_long_history_reads_as_many_items_as_the_similar_ones(build, backbone):
    model, users = build(backbone).eval(), torch.arange(3)
    long = sequences_of(list(range(1, 31)), list(range(40, 18, -1)), list(range(1, T + 2)))
    batch = make_batch(model.backbone, long, users, V, T)
    assert batch.inputs.lengths.tolist() == [T] * len(batch.users)
    students = encode(model, batch.inputs)[batch.last]
    torch.testing.assert_close(students, context_of(model, long).encode_users(users), atol=1e-5, rtol=1e-4)
