"""What each backbone is trained to predict."""

import pytest
import torch
from helpers import sequences_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llmesr.models.backbones import BACKBONES
from llmesr.models.backbones.base import Backbone, ModelSettings
from llmesr.models.backbones.bert4rec import BERT4Rec
from llmesr.train.objectives import make_batch


def batch_of(objective, whole, mask_share=0.6):
    backbone = Backbone(BERT4Rec.Settings(mask_share=mask_share), ModelSettings(), 4)
    backbone.objective = objective
    return make_batch(backbone, whole, torch.arange(len(whole)), n_items=9, max_length=4)


def test_every_position_predicts_its_successor():
    batch = batch_of("every_position", sequences_of([1, 2, 3], [4], [1, 2, 3, 4, 5, 6]))
    assert batch.inputs.items.tolist() == [1, 2, 4, 2, 3, 4, 5]  # the last row is cut to its latest 4 + 1
    assert batch.targets.tolist() == [2, 3, 0, 3, 4, 5, 6]  # a single item predicts nothing
    assert batch.represents.all()


def test_last_item_predicts_only_the_end():
    batch = batch_of("last_item", sequences_of([1, 2, 3], [4], [5, 6]))
    assert batch.inputs.items.tolist() == [1, 2, 4, 5]
    assert batch.targets.tolist() == [0, 3, 0, 6]


def test_cloze_hides_targets_and_asks_once_more_for_the_last():
    torch.manual_seed(0)
    whole = sequences_of([1, 2, 3], [4])
    batch = batch_of("cloze", whole)
    assert batch.users.tolist() == [0, 1, 0, 1]
    assert batch.represents.tolist() == [False, False, True, True]
    assert batch.inputs.items[4:].tolist() == [1, 2, 10, 10]
    assert batch.targets[4:].tolist() == [0, 0, 3, 4]
    hidden = batch.targets[:4] > 0
    assert (batch.targets[:4][hidden] == whole.items[hidden]).all()
    assert (batch.inputs.items[:4][~hidden] == whole.items[~hidden]).all()
    assert hidden[:3].any()
    assert hidden[3]


def test_cloze_hides_the_shares_that_it_should():
    torch.manual_seed(0)
    batch = batch_of("cloze", sequences_of(*[[5] * 4] * 5000), mask_share=0.3)
    read, target = batch.inputs.items[:20000], batch.targets[:20000]
    hidden = target > 0
    # each of 4 is hidden with 0.3, and one of them if none was: 0.3 + 0.7⁴ / 4
    assert hidden.float().mean() == pytest.approx(0.3 + 0.7**4 / 4, abs=0.015)
    shown = read[hidden]
    assert (shown == 10).float().mean() == pytest.approx(0.8, abs=0.02)
    assert (shown == 5).float().mean() == pytest.approx(0.1 + 0.1 / 9, abs=0.015)


def test_a_cloze_shows_any_item_in_place_of_another():
    torch.manual_seed(0)
    batch = batch_of("cloze", sequences_of(*[[5] * 4] * 1000))
    assert set(batch.inputs.items[:4000].tolist()) == set(range(1, 11))


histories = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=25), min_size=1, max_size=12)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories, st.integers(2, 30), st.integers(0, 2**31))
@pytest.mark.parametrize("name", BACKBONES)
def test_every_training_interaction_that_is_read_is_asked_for_once(name, rows, max_length, seed):
    """Once an epoch: every item but a user's first (or earliest read) by position, every item at most once by cloze."""
    torch.manual_seed(seed)
    backbone = BACKBONES[name](BACKBONES[name].Settings(), ModelSettings(hidden=4), max_length)
    batch = make_batch(backbone, sequences_of(*rows), torch.arange(len(rows)), 30, max_length)
    asked = [[int(i) for i in part if i] for part in batch.targets.split(batch.inputs.lengths.tolist())]
    if name == "bert4rec":
        latest = [items[-max_length:] for items in rows]
        hidden, last = asked[: len(rows)], asked[len(rows) :]
        assert last == [items[-1:] for items in latest]
        assert all(1 <= len(part) <= len(items) for part, items in zip(hidden, latest, strict=True))
    else:
        assert asked == [items[-max_length - 1 :][1:] for items in rows]
