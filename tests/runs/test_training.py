"""Whole runs: each method on each backbone learns, keeps its best weights, and is the same for the same seed."""

import itertools
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from helpers import ALONE, T, V, same_weights
from llmesr.errors import InputError
from llmesr.models.backbones import BACKBONES
from llmesr.models.registry import METHODS
from llmesr.models.scoring import Scorer
from llmesr.paths import artifact
from llmesr.prepare.dataset import Targets
from llmesr.runs import training
from llmesr.runs.store import Run
from llmesr.runs.training import train, validation_targets
from llmesr.train import loop
from llmesr.train.loop import Step, Task, validate
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

ALL = list(itertools.product(BACKBONES, METHODS))
LEARNING = [pair for pair in ALL if METHODS[pair[1]].trains or METHODS[pair[1]].starts_from]
"""Those that have epochs, of their own or of what they start from."""
FAST = [("gru4rec", "melt"), ("gru4rec", "cities"), ("bert4rec", "base"), ("sasrec", "llmesr")]
SLOW = [pytest.param(*pair, marks=pytest.mark.slow) for pair in LEARNING if pair not in FAST]


@pytest.mark.parametrize(("backbone", "method"), [*FAST, *SLOW])
def test_a_run_learns_keeps_its_best_weights_and_loads_again(run_of, data, backbone, method):
    run = run_of(backbone, method, {"train.epochs": 6})
    found, again = train(run), run.load()
    if method != "melt":  # whose curriculum raises the weights of the short ones
        assert found.history[-1]["loss"] < found.history[0]["loss"]
    best = max(found.history, key=lambda row: row["NDCG@10"])
    assert found.account["best_epoch"] == best["epoch"]
    task = Task(data.train, V, T, lambda _: data.validation)
    for method_ in (found.method, again.method):
        assert not method_.training
        assert validate(method_, task, ALONE)["NDCG@10"] == pytest.approx(found.account["validation_NDCG@10"], abs=1e-9)
    if method not in ("cities", "dualmatch"):  # which change something after training
        assert found.account["validation_NDCG@10"] == pytest.approx(best["NDCG@10"], abs=1e-9)
    assert same_weights(found.method, again.method)
    assert again.account == found.account
    assert again.history == found.history


def test_a_method_without_epochs_learns_in_the_end_and_loads_again(run_of):
    run = run_of("sasrec", "l3ae")
    found, again = train(run), run.load()
    assert found.history == again.history == []
    assert found.account["best_epoch"] == found.account["epochs"] == 0
    assert found.account["train_seconds"] > 0
    assert found.method.weights.any()
    assert same_weights(found.method, again.method)


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "method"), ALL)
def test_half_precision_learns_nearly_the_same_in_float32_weights(run_of, backbone, method):
    plain, half = (
        train(run_of(backbone, method, {"train.epochs": 2, "train.precision": precision}))
        for precision in ("float32", "bfloat16")
    )
    if METHODS[method].trains:
        assert not same_weights(plain.method, half.method)
    assert torch.bfloat16 not in {value.dtype for value in half.method.state_dict().values()}
    for one, other in zip(plain.history, half.history, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=0.05)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(run_of):
    first = train(run_of())
    for file in run_of().folder.iterdir():
        file.unlink()
    torch.manual_seed(5)  # what was drawn before does not matter
    again, other = train(run_of()), train(run_of(seed=43))
    assert same_weights(first.method, again.method)
    assert [row["loss"] for row in first.history] == [row["loss"] for row in again.history]
    assert not same_weights(first.method, other.method)


def test_a_trained_run_is_not_trained_again(run_of, monkeypatch):
    first = train(run_of(method="base"))
    monkeypatch.setattr(Step, "forward", lambda *_: pytest.fail("a step was made"))
    assert same_weights(train(run_of(method="base")).method, first.method)


def test_a_run_leaves_three_files(run_of):
    run = run_of(method="base", changes={"train.epochs": 1})
    train(run)
    assert sorted(file.name for file in run.folder.iterdir()) == ["history.json", "run.json", "weights.safetensors"]


def test_the_account_says_what_it_was_and_cost(run_of):
    run = run_of(method="base")
    account = train(run).account
    names = {"dataset": "tiny", "backbone": "sasrec", "method": "base", "seed": 42, "fingerprint": run.fingerprint}
    assert {name: account[name] for name in names} == names
    assert account["epochs"] == 4
    assert account["train_seconds"] >= 0
    assert account["parameters"] == sum(parameter.numel() for parameter in run.build().parameters())


# --- methods that start from another ---


@pytest.mark.slow
def test_melt_goes_on_from_the_trained_base(run_of, monkeypatch):
    starts, real = {}, loop.fit

    def spy(method, *rest, **options):
        starts[method.name] = {name: value.clone() for name, value in method.state_dict().items()}
        return real(method, *rest, **options)

    monkeypatch.setattr(training, "fit", spy)
    run = run_of(method="melt")
    found = train(run)
    base = run.start.load()
    assert list(starts) == ["base", "melt"]
    for name, value in base.method.state_dict().items():
        assert torch.equal(starts["melt"][name], value)
    own = sum(epoch["seconds"] for epoch in found.history)
    assert found.account["epochs"] == len(found.history) == 4  # its own
    assert found.account["train_seconds"] == pytest.approx(base.account["train_seconds"] + own, abs=0.1)  # of both


def test_cities_is_the_trained_base_but_for_its_tail_items(run_of):
    run = run_of(method="cities", changes={"methods.cities.epochs": 2, "methods.cities.head_above": 8})
    found, base = train(run), run.start.load()
    assert found.history == base.history
    moved = (found.method.table.weight != base.method.table.weight).any(1)
    assert 0 < moved.sum() < V
    theirs = base.method.state_dict()
    for name, value in found.method.state_dict().items():
        assert name == "table.weight" or torch.equal(value, theirs[name])


# --- validation, and what is not looked at ---


def test_redrawn_negatives_differ_by_epoch_and_avoid_what_was_had(run_of, data):
    targets = validation_targets(run_of(changes={"train.redraw_negatives": True}, seed=1))
    first, second, again = targets(0), targets(1), targets(0)
    assert (first.negatives != second.negatives).any()
    assert (first.negatives == again.negatives).all()
    for user, item, negatives in zip(first.users, first.items, first.negatives, strict=True):
        assert not {*data.train[user].tolist(), item} & set(negatives.tolist())
    fixed = validation_targets(run_of())
    assert isinstance(fixed(0), Targets)
    assert fixed(0) is fixed(1) is data.validation


def test_redrawn_negatives_are_a_seeds_own_and_those_of_the_user_who_is_asked(uneven, inputs):
    settings, data = uneven
    settings = settings.changed({"train.redraw_negatives": True})
    one, other = (validation_targets(Run(settings, "sasrec", "base", seed, data, inputs))(0) for seed in (1, 2))
    assert (one.negatives != other.negatives).any()
    assert one.users.tolist() != list(range(len(one.users)))
    for user, item, row in zip(one.users, one.items, one.negatives, strict=True):
        had, real = {*data.train[user].tolist(), item}, row[row > 0]
        assert not had & set(real)
        assert len(set(real)) == len(real) == min(settings.prepare.negatives, V - len(had))
    assert V in one.negatives


def test_training_never_looks_at_the_test_split(run_of):
    (artifact("tiny", "prepare") / "test.parquet").unlink()
    train(run_of(method="dualmatch", changes={"train.epochs": 1}))


def test_a_loss_that_is_not_finite_is_named(run_of):
    run = run_of(method="base", changes={"train.learning_rate": 1e30})
    with pytest.raises(InputError, match=r"the loss is nan in epoch \d: lower 'train.learning_rate' \(1e\+30\)"):
        train(run)
    assert not run.is_trained


# --- adversaries ---


def test_an_adversary_is_made_only_if_it_is_asked_for(run_of):
    def made(changes):
        run = run_of(method="base", changes=changes)
        return training.make_adversary(run, run.build())

    assert made({}) is None
    assert made({"train.adversary": "popularity"}).of_items
    assert not made({"train.adversary": "club_member"}).of_items
    own = made({"train.adversary": "sensitive_attribute"})  # which the dataset's section names
    assert torch.equal(own.labels, made({"train.adversary": "club_member"}).labels)
    with pytest.raises(InputError, match=r"'datasets.tiny.sensitive_attribute' is null: name a user attribute"):
        made({"train.adversary": "sensitive_attribute", "data.sensitive_attribute": None})
    with pytest.raises(InputError, match=r"key 'train.adversary' names 'colour', and users have: club_member"):
        made({"train.adversary": "colour"})


@pytest.mark.slow
@pytest.mark.parametrize("adversary", ["club_member", "popularity"])
@pytest.mark.parametrize("method", ["melt", "llmesr"])
def test_an_adversary_changes_the_run_and_is_not_saved_with_it(run_of, adversary, method):
    before = train(run_of("gru4rec", method, {"train.epochs": 2}))
    run = run_of("gru4rec", method, {"train.epochs": 2, "train.adversary": adversary})
    after, items = train(run), torch.arange(1, V + 1)
    assert not [name for name in load_file(run.folder / "weights.safetensors") if "guess" in name]
    assert after.account["parameters"] == before.account["parameters"]
    torch.testing.assert_close(run.load().method.item_vectors(items), after.method.item_vectors(items))
    assert not torch.allclose(before.method.item_vectors(items), after.method.item_vectors(items))


@pytest.mark.slow
def test_a_strong_adversary_makes_a_group_harder_to_tell(run_of, data):
    """The group is who has had item 1, which any state tells unless it is taught not to."""
    has = np.array(["yes" if 1 in items.tolist() else "no" for items in data.train])
    known = replace(data, users=data.users.with_columns(first=pl.Series(has)))

    def leakage(changes):
        run = run_of("gru4rec", "base", {"train.epochs": 30, "train.patience": 30, **changes})
        method = train(Run(run.settings, run.backbone, run.method, run.seed, known, run.inputs)).method
        states = Scorer.of(method, V, T).states(known.train).numpy()
        guess = LogisticRegression(max_iter=2000).fit(states[::2], has[::2])
        return roc_auc_score(has[1::2], guess.decision_function(states[1::2]))

    assert leakage({"train.adversary": "first", "train.adversary_weight": 3.0}) < leakage({}) - 0.05


def test_frozen_numbers_are_not_counted(run_of):
    run = run_of(method="base")
    model = run.build()
    whole = sum(parameter.numel() for parameter in model.parameters())
    first = next(model.parameters()).requires_grad_(requires_grad=False)
    assert training._costs(run, model, [], 0.0, None)["parameters"] == whole - first.numel()
