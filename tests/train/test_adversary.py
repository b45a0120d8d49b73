"""Adversarial training: an adversary that learns to guess, and a model that learns to leave it guessing."""

from dataclasses import replace

import polars as pl
import pytest
import torch
import torch.nn.functional as F
from helpers import sequences_of
from llmesr.errors import InputError
from llmesr.models.base import Batch
from llmesr.train import adversary
from llmesr.train.adversary import Adversary, Reverse

BATCH = Batch(torch.tensor([0, 2, 1]), sequences_of([1, 2], [3], [1]), torch.zeros(4), torch.ones(3, dtype=torch.bool))
STATES = torch.tensor([[9.0, 9.0], [1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])


def test_the_gradient_is_reversed_and_scaled():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = Reverse.apply(x, 3.0)
    assert y.tolist() == [1, 2]
    (y * torch.tensor([1.0, 5.0])).sum().backward()
    assert x.grad.tolist() == [-3, -15]


def test_users_are_guessed_by_their_last_states_and_unknown_ones_are_left_out():
    torch.manual_seed(0)
    users = Adversary(2, torch.tensor([0, -1, 1, 1]), 1.0, of_items=False)
    found = users(BATCH, STATES, torch.tensor([1]), torch.zeros(1, 2))
    known = STATES[[1, 2]]  # of users 0 and 2; user 1 is not known
    counts = torch.tensor([1.0, 2.0])
    expected = F.cross_entropy(users.guess(known), torch.tensor([0, 1]), 3 / (2 * counts))
    torch.testing.assert_close(found, expected)
    nobody = Adversary(2, torch.tensor([-1, -1, -1, 0, 1]), 1.0, of_items=False)
    assert nobody(BATCH, STATES, torch.tensor([1]), torch.zeros(1, 2)) == 0


def test_items_are_guessed_by_their_vectors_but_not_padding_and_mask():
    torch.manual_seed(0)
    items = Adversary(2, torch.tensor([-1, 0, 1, -1]), 1.0, of_items=True)
    table = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    found = items(BATCH, STATES, torch.tensor([0, 1, 2, 3]), table)
    expected = F.cross_entropy(items.guess(table[1:3]), torch.tensor([0, 1]))
    torch.testing.assert_close(found, expected)


def test_the_adversary_descends_and_what_it_is_given_ascends():
    torch.manual_seed(0)
    users = Adversary(2, torch.tensor([0, 1, 1]), 0.5, of_items=False)
    states = STATES.clone().requires_grad_()
    users(BATCH, states, torch.tensor([1]), torch.zeros(1, 2)).backward()
    plain = STATES.clone().requires_grad_()
    F.cross_entropy(users.guess(plain[BATCH.last]), users.labels[BATCH.users], users.weights).backward()
    torch.testing.assert_close(states.grad, -0.5 * plain.grad)
    assert all(parameter.grad is not None for parameter in users.guess.parameters())


def test_labels_are_those_of_users_and_of_head_and_tail(tiny, data):
    known = replace(data, users=data.users.with_columns(club=pl.Series(["a", "b", None] * (data.n_users // 3))))
    settings = tiny.train.model_copy(update={"adversary": "club"})
    assert adversary.make(settings, known, 4).labels[:6].tolist() == [0, 1, -1, 0, 1, -1]
    popular = adversary.make(tiny.train.model_copy(update={"adversary": "popularity"}), data, 4)
    tail = (data.items["tail"] == "tail_item").cast(pl.Int64).to_list()
    assert popular.labels.tolist() == [-1, *tail, -1]
    assert popular.of_items
    assert adversary.make(settings.model_copy(update={"adversary_weight": 0.3}), known, 4).strength == 0.3
    with pytest.raises(InputError, match=r"'train\.adversary' names 'colour', and users have: club_member"):
        adversary.make(tiny.train.model_copy(update={"adversary": "colour"}), data, 4)
    alike = replace(data, users=data.users.with_columns(club=pl.lit("a")))
    with pytest.raises(
        InputError, match=r"'train\.adversary': 'club' has no two classes to tell apart: choose another"
    ):
        adversary.make(settings, alike, 4)
