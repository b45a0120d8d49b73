"""MELT: the head teaches two maps, the tail is replaced or enhanced by them."""

import math

import pytest
import torch
from helpers import D, T, V, context_of, encode, sequences_of
from llmesr.models.backbones import BACKBONES
from llmesr.models.contexts import prefixes
from llmesr.models.methods.melt import MELT
from llmesr.models.scoring import Scorer
from llmesr.sequences import Sequences
from llmesr.train.objectives import make_batch


@pytest.fixture
def melt(build, sequences):
    model = build(method="melt")
    model.on_epoch_start(context_of(model, sequences))
    return model


def backbone_of(model, build, backbone="sasrec", changes=None):
    """The backbone alone, with the weights that a method has."""
    plain = build(backbone, "base", changes)
    weights = model.state_dict()
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()})
    return plain


def test_head_and_tail_are_found_in_training_counts(melt, sequences):
    counts = torch.bincount(sequences.items, minlength=49)[1:].double()
    assert melt.item_threshold == int(counts.quantile(0.8))
    assert melt.user_threshold == int(sequences.lengths.double().quantile(0.8))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_tail_rows_are_the_map_of_their_mean_context(build, sequences, backbone):
    model = build(backbone, "melt", {"methods.melt.replace_every": 1})
    before, plain = model.table.weight.detach().clone(), backbone_of(model, build, backbone)
    model.on_epoch_start(context_of(model, sequences, epoch=1))
    counts, both_ways = torch.bincount(sequences.items, minlength=50), sequences.join(sequences.backwards())
    tail = (counts > 0) & (counts <= model.item_threshold)
    assert torch.equal(model.table.weight[~tail], before[~tail])
    item = int(tail.nonzero()[0])
    contexts = prefixes(both_ways, (both_ways.items == item).nonzero().squeeze(1), T)
    assert len(contexts) == 2 * counts[item]
    assert (contexts.items[contexts.last] == item).all()
    f = Scorer.of(plain, V, T).states(contexts)
    torch.testing.assert_close(model.table.weight[item], model.item_map(f.mean(0)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("longest", "threshold"), [(4, 3), (3, 2), (2, 0)])
def test_who_fills_all_that_is_read_is_a_head_user(build, sequences, longest, threshold):
    """Only the latest T items count. Of two items a part is one: there is nothing to learn."""
    short = {"data.max_length": longest}
    model = build(method="melt", changes=short)
    assert (sequences.lengths >= longest).double().mean() > 0.3  # the 80 % quantile of what is read is all of it
    model.max_length = longest
    model._find_thresholds(sequences)
    assert model.user_threshold == threshold
    full = sequences.take((sequences.lengths >= longest).nonzero().squeeze(1)[:5])
    plain = Scorer.of(backbone_of(model, build, changes=short), V, longest).states(full)
    torch.testing.assert_close(Scorer.of(model, V, longest).states(full), plain)


def test_contexts_lead_up_to_an_item_and_back_to_it(build):
    model = build(method="melt")
    model.on_epoch_start(context_of(model, sequences_of([1, 2, 3, 4], [5, 3])))
    ends = model._contexts.take(torch.tensor([3])).items
    found = [context.tolist() for context in prefixes(model._both_ways, ends, T)]
    assert sorted(found) == [[1, 2, 3], [3], [4, 3], [5, 3]]


def test_items_of_one_popularity_have_no_head_to_learn_from(build):
    model = build(method="melt")
    model.on_epoch_start(context_of(model, sequences_of(list(range(1, 49)), list(range(1, 49)))))
    assert model._item_loss(2) == 0


@pytest.mark.parametrize("backbone", BACKBONES)
def test_only_tail_users_are_enhanced_and_only_at_inference(build, sequences, backbone):
    model = build(backbone, "melt")
    model.on_epoch_start(context_of(model, sequences))
    threshold = int(model.user_threshold)
    few, many = sequences.lengths.argmin(), sequences.lengths.argmax()
    assert sequences.lengths[few] <= threshold < sequences.lengths[many]
    users = sequences.take(torch.stack([few, many]))
    enhanced = Scorer.of(model, V, T).states(users)
    model.user_threshold.zero_()
    f = Scorer.of(model, V, T).states(users)
    torch.testing.assert_close(enhanced[0], f[0] + model.user_map(f[0]))
    torch.testing.assert_close(enhanced[1], f[1])


def test_the_threshold_of_users_is_saved_with_the_weights(melt, build):
    other = build(method="melt", seed=1)
    other.load_state_dict(melt.state_dict())
    assert other.user_threshold == melt.user_threshold > 0


def test_curriculum_by_hand(melt):
    melt._epoch = 45  # a quarter of 180
    found = melt._curriculum(torch.tensor([0.0, math.pi / 4]))
    assert found.flatten().tolist() == pytest.approx([math.sin(math.pi / 8), math.sin(3 * math.pi / 8)])


def test_branches_learn_from_the_head_only(melt, sequences):
    """Without head users the user branch has no loss; the maps learn, and so does the shared backbone."""
    batch = make_batch(melt.backbone, sequences, torch.arange(len(sequences)), V, T)
    tail = (sequences.lengths <= melt.user_threshold).nonzero().squeeze(1)
    only_tail = make_batch(melt.backbone, sequences, tail, V, T)
    assert melt._user_loss(only_tail, torch.zeros(len(only_tail.inputs.items), D)) == 0
    melt._epoch = 20
    melt.extra_loss(batch, encode(melt, batch.inputs)).backward()
    for part in (melt.user_map, melt.item_map, melt.backbone.transformer.norm):
        assert part.weight.grad.abs().sum() > 0


def test_the_item_branch_asks_for_contexts_of_head_items_alone(melt, monkeypatch):
    asked, real = [], Sequences.take

    def spy(self, rows, latest=None):
        if self is melt._contexts:
            asked.append(rows)
        return real(self, rows, latest)

    monkeypatch.setattr(Sequences, "take", spy)
    melt._item_loss(users=90)
    (items,) = asked
    assert len(items) > 0
    assert (melt.item_counts[items] > melt.item_threshold).all()


def test_tail_items_are_replaced_when_so_many_users_were_passed_over_and_not_before_the_first_epoch(build, sequences):
    model = build(method="melt", changes={"methods.melt.replace_every": 2 * len(sequences)})
    replaced = []
    for epoch in range(5):
        before = model.table.weight.detach().clone()
        model.on_epoch_start(context_of(model, sequences, epoch=epoch))
        with torch.no_grad():
            model.item_map.bias += 1.0
        tail = (model.item_counts > 0) & (model.item_counts <= model.item_threshold)
        replaced.append(bool((model.table.weight[:-1][tail] != before[:-1][tail]).any(1).all()))
    assert replaced == [False, False, True, False, True]


# --- at the threshold, and by hand ---


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_user_with_as_many_items_as_the_threshold_is_enhanced_and_one_with_more_is_not(build, sequences, backbone):
    model = build(backbone, "melt")
    model.on_epoch_start(context_of(model, sequences))
    model.user_threshold.fill_(3)
    users = sequences_of([1, 2, 3], [4, 5, 6, 7])
    f = Scorer.of(backbone_of(model, build, backbone), V, T).states(users)
    enhanced = Scorer.of(model, V, T).states(users)
    torch.testing.assert_close(enhanced, torch.stack([f[0] + model.user_map(f[0]), f[1]]))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_loss_of_users_by_hand(build, backbone):
    """With a threshold of 1 it is always the very last item that W_U is told; who has no other item teaches nothing."""
    model = build(backbone, "melt").eval()
    whole = sequences_of([1, 2, 3, 4], [5, 6], [7])
    model.on_epoch_start(context_of(model, whole, epoch=10))
    model.user_threshold.fill_(1)
    plain = backbone_of(model, build, backbone).eval()
    batch = make_batch(model.backbone, whole, torch.arange(3), V, T)
    states = encode(plain, batch.inputs)
    ends = [[*items[-1:], V + 1] if backbone == "bert4rec" else items[-1:] for items in ([1, 2, 3], [5])]
    few = sequences_of(*ends)
    guess, truth = model.user_map(encode(plain, few)[few.last]), states[batch.last[:2]]
    surplus = torch.tensor([[4.0 - 1 - 1], [2.0 - 1 - 1]])
    weight = (math.pi / 2 * 10 / 180 + math.pi / (2 * (T - 1 - 1)) * surplus).sin().abs()
    torch.testing.assert_close(model._user_loss(batch, states), (weight * (guess - truth).square()).mean())


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("times", [20, 70])
def test_the_loss_of_items_by_hand(build, backbone, times):
    """Item 1 is the only head item, and always the first: all its contexts are alike. Beyond 50 counts are capped."""
    model = build(backbone, "melt").eval()
    whole = sequences_of(*[[1]] * times, *[[item] for item in range(2, V + 1)])
    model.on_epoch_start(context_of(model, whole, epoch=10))
    assert model.item_threshold == 1
    plain, context = (
        backbone_of(model, build, backbone).eval(),
        sequences_of([1, V + 1] if backbone == "bert4rec" else [1]),
    )
    f = encode(plain, context)[-1]
    weight = math.sin(math.pi / 2 * 10 / 180 + math.pi / 100 * (min(times, 1 + 50) - 1 - 1))
    error = model.item_map(f + model.user_map(f)) - model.table.weight[1]
    torch.testing.assert_close(model._item_loss(90), weight * error.square().mean())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_contexts_of_items_are_no_longer_than_what_is_read(build, uneven, monkeypatch, backbone):
    data, lengths = uneven[1], []
    torch.manual_seed(0)
    model = build(backbone, "melt", {"methods.melt.replace_every": 1})
    model.on_epoch_start(context_of(model, data.train))
    real = MELT._last
    monkeypatch.setattr(MELT, "_last", lambda self, part: lengths.append(part.lengths.max()) or real(self, part))
    assert torch.isfinite(model._item_loss(90))
    assert max(lengths) == T
    before = model.table.weight.clone()
    model.on_epoch_start(context_of(model, data.train, epoch=1))
    assert (model.table.weight != before).any()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_head_user_reads_more_items_than_the_threshold(build, backbone):
    model, whole = build(backbone, "melt"), sequences_of([1, 2, 3], [4, 5, 6])
    model.on_epoch_start(context_of(model, whole, epoch=40))
    batch = make_batch(model.backbone, whole, torch.arange(2), V, T)
    for threshold, taught in ((2, True), (3, False)):
        model.user_threshold.fill_(threshold)
        assert bool(model._user_loss(batch, encode(model, batch.inputs)) > 0) == taught


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_head_user_is_not_enhanced_where_nearly_all_that_is_read_is_the_threshold(build, backbone):
    """Of eight users with 3 items and two with 6 the threshold is 3; a cloze of T = 4 reads 3 items and [MASK]."""
    short, whole = {"data.max_length": 4}, sequences_of(*[[1, 2, 3]] * 8, [1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1])
    model = build(backbone, "melt", short)
    model.max_length = 4
    model._find_thresholds(whole)
    head = whole.take(torch.tensor([8, 9]))
    plain = Scorer.of(backbone_of(model, build, backbone, short), V, 4).states(head)
    torch.testing.assert_close(Scorer.of(model, V, 4).states(head), plain)


def test_padding_is_no_item_in_the_quantile(build):
    """38 items are there once, ten are there ten times: their 80 % quantile is 6.4, with a zero it would be 4.6."""
    model = build(method="melt")
    rows = [[item] for item in range(1, 39)] + [[item] for item in range(39, 49) for _ in range(10)]
    model.on_epoch_start(context_of(model, sequences_of(*rows)))
    assert model.item_threshold == 6


def test_each_branch_has_its_own_weight(build, sequences, monkeypatch):
    model = build(method="melt", changes={"methods.melt.lambda_user": 0.3, "methods.melt.lambda_item": 0.05})
    monkeypatch.setattr(model, "_user_loss", lambda *_: torch.tensor(100.0))
    monkeypatch.setattr(model, "_item_loss", lambda *_: torch.tensor(1000.0))
    batch = make_batch(model.backbone, sequences, torch.arange(3), V, T)
    assert model.extra_loss(batch, torch.zeros(1, D)).item() == pytest.approx(0.3 * 100 + 0.05 * 1000)
