"""MELT: the head teaches two maps, the tail is replaced or enhanced by them."""

import math

import pytest
import torch
from helpers import D, T, V, context_of, encode, sequences_of
from llmesr.models.backbones import BACKBONES
from llmesr.models.contexts import prefixes
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
    counts = torch.bincount(sequences.items, minlength=50)
    tail = (counts > 0) & (counts <= model.item_threshold)
    assert torch.equal(model.table.weight[~tail], before[~tail])
    item = int(tail.nonzero()[0])
    contexts = prefixes(sequences, (sequences.items == item).nonzero().squeeze(1), T)
    assert (contexts.items[contexts.last] == item).all()
    f = Scorer.of(plain, V, T).states(contexts)
    torch.testing.assert_close(model.table.weight[item], model.item_map(f.mean(0)), atol=1e-5, rtol=1e-4)


def test_what_is_not_read_does_not_make_a_head_user(build, sequences):
    """Only the latest T items count; if nobody has more than the threshold of them, nobody is enhanced."""
    short = {"data.max_length": 4}
    model = build(method="melt", changes=short)
    assert (sequences.lengths >= 4).double().mean() > 0.3  # the 80 % quantile of what is read is 4, the most there is
    model.max_length = 4
    model._find_thresholds(sequences)
    assert model.user_threshold == 0
    users = sequences.take(torch.arange(5))
    plain = Scorer.of(backbone_of(model, build, changes=short), V, 4).states(users)
    torch.testing.assert_close(Scorer.of(model, V, 4).states(users), plain)


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
    melt._epoch = 10
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
    assert (melt._contexts.lengths[items] > melt.item_threshold).all()


def test_tail_items_are_replaced_when_so_many_users_were_passed_over_and_not_before_the_first_epoch(build, sequences):
    model = build(method="melt", changes={"methods.melt.replace_every": 2 * len(sequences)})
    replaced = []
    for epoch in range(5):
        before = model.table.weight.detach().clone()
        model.on_epoch_start(context_of(model, sequences, epoch=epoch))
        with torch.no_grad():
            model.item_map.bias += 1.0
        tail = (model._contexts.lengths > 0) & (model._contexts.lengths <= model.item_threshold)
        replaced.append(bool((model.table.weight[:-1][tail] != before[:-1][tail]).any(1).all()))
    assert replaced == [False, False, True, False, True]
