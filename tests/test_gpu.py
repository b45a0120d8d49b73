"""On a GPU, where there is one: it computes what the CPU does, and the same every time."""

import itertools

import numpy as np
import pytest
import torch
from conftest import changed, same
from llmesr import evaluate, retrieve, train
from llmesr.devices import pick_device
from llmesr.models.backbones import BACKBONES
from llmesr.models.methods import METHODS
from llmesr.models.ragged import Ragged
from llmesr.models.scoring import full_ranks, item_table, represent

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

ALL = list(itertools.product(BACKBONES, METHODS))
NO_CHANCE = {"model__dropout": 0.0, "train__loss": "cross_entropy", "train__epochs": 2}  # no negatives are drawn


@pytest.fixture
def on(tiny, data, embeddings, similar):
    """Train a run on a device."""

    def run(device, backbone="sasrec", method="llmesr", **changes):
        settings = changed(tiny, train__device=device, **changes)
        return train.run(settings, data, embeddings, similar, backbone, method, 42)

    return run


@pytest.mark.parametrize(("backbone", "method"), ALL)
def test_users_are_represented_and_items_ranked_as_on_the_cpu(build, data, backbone, method):
    model = build(backbone, method)
    everyone, found = torch.arange(data.n_users), []
    for device in (pick_device("cpu"), pick_device("cuda")):
        model = model.to(device)
        sequences = Ragged.of(data.train.items, data.train.lengths, device)
        states = represent(model, sequences, everyone.to(device), data.n_items, 20)
        table = item_table(model, data.n_items)
        ranks = full_ranks(states, table, data.validation.items, sequences)
        found.append((states.cpu(), table.cpu(), ranks))
    torch.testing.assert_close(found[0][:2], found[1][:2], atol=1e-4, rtol=1e-3)
    assert np.mean(found[0][2] == found[1][2]) > 0.98  # scores that differ by rounding may swap


@pytest.mark.parametrize("backbone", ["gru4rec", "sasrec"])  # a cloze is drawn
@pytest.mark.parametrize("method", ["none", "llminit", "llmesr", "dualmatch"])
def test_without_chance_it_learns_what_the_cpu_learns(on, backbone, method):
    cpu, gpu = (on(device, backbone, method, **NO_CHANCE).history for device in ("cpu", "cuda"))
    for one, other in zip(cpu, gpu, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("backbone", "method"), ALL)
def test_the_same_seed_gives_the_same_weights(on, backbone, method, precision):
    first, again = (on("cuda", backbone, method, train__epochs=2, train__precision=precision) for _ in range(2))
    assert [row["loss"] for row in first.history] == [row["loss"] for row in again.history]
    assert same(first.model, again.model)


@pytest.mark.parametrize("loss", ["bce", "gbce", "sampled_softmax", "cross_entropy"])
def test_every_loss_trains(on, loss):
    history = on("cuda", train__epochs=10, train__loss=loss, train__negatives=32).history
    assert history[-1]["loss"] < history[0]["loss"]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_resumed_run_ends_as_an_uninterrupted_one(on, killed_in_the_third_epoch, backbone):
    whole = on("cuda", backbone)
    calls = killed_in_the_third_epoch()
    with pytest.raises(KeyboardInterrupt):
        on("cuda", backbone)
    assert same(whole.model, on("cuda", backbone).model)
    assert next(calls) == 3 + 3  # epochs 3 and 4 only


@pytest.mark.parametrize("method", ["llmesr", "dualmatch"])
def test_a_run_is_judged_as_on_the_cpu(on, tiny, data, embeddings, monkeypatch, method):
    monkeypatch.setattr(evaluate.embed, "load", lambda name: embeddings)
    matrix = {"matrix__backbones": ["sasrec"], "matrix__methods": [method], "matrix__seeds": [42]}
    settings = changed(tiny, **matrix)
    retrieve.run(settings, data, embeddings)
    on("cuda", method=method)
    cpu, gpu = (
        evaluate.run(changed(settings, train__device=device), data).metrics["value"].to_numpy()
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(gpu, cpu, atol=0.02)  # a swap of two items moves one of 90 users
