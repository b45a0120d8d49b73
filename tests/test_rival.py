"""Adversarial training: a rival that learns to guess, and a model that learns to leave it guessing."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from conftest import changed, ragged
from llmesr import train
from llmesr.errors import InputError
from llmesr.models.contract import Batch
from llmesr.paths import run_folder
from llmesr.train import rival
from llmesr.train.rival import Reverse, Rival
from safetensors.torch import load_file

BATCH = Batch(torch.tensor([0, 2, 1]), ragged([1, 2], [3], [1]), torch.zeros(4), torch.ones(3, dtype=torch.bool))
STATES = torch.tensor([[9.0, 9.0], [1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])


def test_the_gradient_is_reversed_and_scaled():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = Reverse.apply(x, 3.0)
    assert y.tolist() == [1, 2]
    (y * torch.tensor([1.0, 5.0])).sum().backward()
    assert x.grad.tolist() == [-3, -15]


def test_users_are_guessed_by_their_last_states_and_unknown_ones_are_left_out():
    torch.manual_seed(0)
    users = Rival(2, torch.tensor([0, -1, 1, 1]), 1.0, of_items=False)
    found = users.loss(BATCH, STATES, torch.tensor([1]), torch.zeros(1, 2))
    known = STATES[[1, 2]]  # of users 0 and 2; user 1 is not known
    counts = torch.tensor([1.0, 2.0])
    expected = F.cross_entropy(users.guess(known), torch.tensor([0, 1]), 3 / (2 * counts))
    torch.testing.assert_close(found, expected)
    nobody = Rival(2, torch.tensor([-1, -1, -1, 0, 1]), 1.0, of_items=False)
    assert nobody.loss(BATCH, STATES, torch.tensor([1]), torch.zeros(1, 2)) == 0


def test_items_are_guessed_by_their_vectors_but_not_padding_and_mask():
    torch.manual_seed(0)
    items = Rival(2, torch.tensor([-1, 0, 1, -1]), 1.0, of_items=True)
    table = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    found = items.loss(BATCH, STATES, torch.tensor([0, 1, 2, 3]), table)
    expected = F.cross_entropy(items.guess(table[1:3]), torch.tensor([0, 1]))
    torch.testing.assert_close(found, expected)


def test_the_rival_descends_and_what_it_is_given_ascends():
    torch.manual_seed(0)
    users = Rival(2, torch.tensor([0, 1, 1]), 0.5, of_items=False)
    states = STATES.clone().requires_grad_()
    users.loss(BATCH, states, torch.tensor([1]), torch.zeros(1, 2)).backward()
    plain = STATES.clone().requires_grad_()
    F.cross_entropy(users.guess(plain[BATCH.last]), users.labels[BATCH.users], users.weights).backward()
    torch.testing.assert_close(states.grad, -0.5 * plain.grad)
    assert all(parameter.grad is not None for parameter in users.guess.parameters())


def test_labels_are_those_of_users_and_of_head_and_tail(tiny, data):
    known = replace(data, users=data.users.with_columns(club=pl.Series(["a", "b", None] * (data.n_users // 3))))
    settings = tiny.train.model_copy(update={"adversary": "club"})
    assert rival.make(settings, known, 4).labels[:6].tolist() == [0, 1, -1, 0, 1, -1]
    popular = rival.make(tiny.train.model_copy(update={"adversary": "popularity"}), data, 4)
    tail = (data.items["tail"] == "tail_item").cast(pl.Int64).to_list()
    assert popular.labels.tolist() == [-1, *tail, -1]
    assert popular.of_items
    with pytest.raises(InputError, match=r"'train\.adversary' names 'colour', and of users is known: club_member"):
        rival.make(tiny.train.model_copy(update={"adversary": "colour"}), data, 4)
    alike = replace(data, users=data.users.with_columns(club=pl.lit("a")))
    with pytest.raises(
        InputError, match=r"'train\.adversary': 'club' has no two classes to tell apart: choose another"
    ):
        rival.make(settings, alike, 4)


def test_nobody_has_a_rival_who_asked_for_none(tiny, data, build):
    model = build(method="none")
    train.attach_rival(model, tiny, data)
    assert not hasattr(model, "rival")
    train.attach_rival(model, changed(tiny, train__adversary="popularity"), data)
    assert model.rival.of_items


@pytest.mark.parametrize("adversary", ["club_member", "popularity"])
@pytest.mark.parametrize("method", ["melt", "llmesr"])
def test_a_rival_changes_the_run_and_is_not_saved_with_it(tiny, data, embeddings, similar, adversary, method):
    plain = changed(tiny, train__epochs=2)
    settings = changed(plain, train__adversary=adversary)
    before = train.run(plain, data, embeddings, similar, "gru4rec", method, 0)
    after = train.run(settings, data, embeddings, similar, "gru4rec", method, 0)
    names = load_file(run_folder("tiny", "gru4rec", method, 0) / "weights.safetensors").keys()
    assert not [name for name in names if "rival" in name]
    assert after.account["parameters"] == before.account["parameters"]
    again = train.load(settings, embeddings, similar, "gru4rec", method, 0).model
    items = torch.arange(1, 49)
    torch.testing.assert_close(again.item_vectors(items), after.model.item_vectors(items))
    assert not torch.allclose(before.model.item_vectors(items), after.model.item_vectors(items))


def test_a_strong_rival_makes_a_group_harder_to_tell(tiny, data, embeddings, similar):
    """The group is who has had item 1, which any state tells unless it is taught not to."""
    from llmesr.diversity.audit import leakage
    from llmesr.models.scoring import represent

    has = np.array(["yes" if 1 in data.train[user] else "no" for user in range(data.n_users)])
    known = replace(data, users=data.users.with_columns(first=pl.Series(has)))

    def told(**changes):
        settings = changed(tiny, train__epochs=30, train__patience=30, **changes)
        run = train.run(settings, known, embeddings, similar, "gru4rec", "none", 0)
        sequences = ragged(*[known.train[user].tolist() for user in range(known.n_users)])
        states = represent(run.model, sequences, torch.arange(known.n_users), 48, 20).numpy()
        return leakage(states, has)

    assert told(train__adversary="first", train__adversary_weight=3.0) < told() - 0.05
