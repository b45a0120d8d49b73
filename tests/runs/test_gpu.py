"""On a GPU, where there is one: it computes what the CPU does, and the same every time."""

import itertools

import numpy as np
import pytest
import torch
from helpers import T, V, same_weights
from llmesr.devices import pick_device
from llmesr.models.backbones import BACKBONES
from llmesr.models.registry import METHODS
from llmesr.models.scoring import Scorer, rank
from llmesr.runs.training import train
from llmesr.train import loop

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]

ALL = list(itertools.product(BACKBONES, METHODS))
NO_CHANCE = {"model.dropout": 0.0, "train.loss": "cross_entropy", "train.epochs": 2}  # no negatives are drawn


@pytest.fixture
def on(run_of):
    """Train a run on a device, anew."""

    def run(device, backbone="sasrec", method="llmesr", changes=None):
        wanted = run_of(backbone, method, {"train.device": device, **(changes or {})})
        for part in filter(None, (wanted, wanted.start)):
            for file in part.folder.glob("*.json"):
                file.unlink()
        return train(wanted)

    return run


@pytest.mark.parametrize(("backbone", "method"), ALL)
def test_users_are_encoded_and_items_ranked_as_on_the_cpu(build, data, backbone, method):
    model, found = build(backbone, method), []
    for device in (pick_device("cpu"), pick_device("cuda")):
        scorer = Scorer.of(model.to(device), V, T)
        histories = data.train.to(device)
        ranks = rank(scorer, histories, data.validation.items, V, seen=histories)
        found.append((scorer.states(histories).cpu(), scorer.table.cpu(), ranks))
    torch.testing.assert_close(found[0][:2], found[1][:2], atol=1e-4, rtol=1e-3)
    assert np.mean(found[0][2] == found[1][2]) > 0.98  # scores that differ by rounding may swap


@pytest.mark.parametrize("backbone", ["gru4rec", "sasrec"])  # a cloze is drawn
@pytest.mark.parametrize("method", ["base", "llminit", "llmesr", "dualmatch"])
def test_without_chance_it_learns_what_the_cpu_learns(on, backbone, method):
    cpu, gpu = (on(device, backbone, method, NO_CHANCE).history for device in ("cpu", "cuda"))
    for one, other in zip(cpu, gpu, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("backbone", "method"), ALL)
def test_the_same_seed_gives_the_same_weights(on, backbone, method, precision):
    two = {"train.epochs": 2, "train.precision": precision}
    first, again = (on("cuda", backbone, method, two) for _ in range(2))
    assert [row["loss"] for row in first.history] == [row["loss"] for row in again.history]
    assert same_weights(first.method, again.method)


@pytest.mark.parametrize("loss", ["bce", "gbce", "sampled_softmax", "cross_entropy"])
def test_every_loss_is_learned(on, loss):
    history = on("cuda", changes={"train.epochs": 10, "train.loss": loss, "train.negatives": 32}).history
    assert history[-1]["loss"] < history[0]["loss"]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_killed_run_ends_as_an_uninterrupted_one(on, monkeypatch, backbone):
    whole = on("cuda", backbone)
    real, calls = loop.validate, itertools.count(1)

    def killed(*args):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(loop, "validate", killed)
    with pytest.raises(KeyboardInterrupt):
        on("cuda", backbone)
    assert same_weights(whole.method, on("cuda", backbone).method)
