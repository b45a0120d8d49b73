"""The training loop: one pass over all users an epoch, early stopping, the best weights, resume after a kill."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import ALONE, T, V, context_of, encode, same_weights, sequences_of
from llmesr.errors import InputError
from llmesr.metrics import ndcg
from llmesr.models.backbones import BACKBONES
from llmesr.models.base import TrainContext
from llmesr.models.scoring import Scorer, rank
from llmesr.prepare.dataset import Targets
from llmesr.train import checkpoint, loop, losses
from llmesr.train.loop import Step, Task, distinct, fit, validate
from llmesr.train.losses import RankingLoss
from llmesr.train.negatives import NegativeSampler


@pytest.fixture
def task(data):
    return Task(data.train, V, T, lambda epoch: data.validation)


@pytest.fixture
def train(run_of, task, tmp_path):
    """Fit a method; give it, its history and its best epoch."""

    def start(backbone="sasrec", method="llmesr", changes=None, seed=0, fingerprint="mine"):
        run = run_of(backbone, method, changes, seed)
        model = run.build()
        fitted = fit(model, task, run.train_settings, seed, tmp_path / "checkpoint.pt", fingerprint, ALONE)
        return SimpleNamespace(method=model, history=fitted.history, best_epoch=fitted.best_epoch)

    return start


def step_of(model, task, run):
    return Step(model, task, RankingLoss(run.train_settings, NegativeSampler(task.sequences, V)), None, ALONE)


def test_distinct_ids_and_their_places_are_those_of_unique():
    ids = torch.tensor([5, 2, 5, 0, 7])
    for found, expected in zip(distinct(ids, 9), ids.unique(return_inverse=True), strict=True):
        assert torch.equal(found, expected)


# --- a step ---


def test_a_loss_is_the_ranking_loss_of_the_positions_that_predict_and_the_methods_own(build, run_of, task):
    run, users = run_of(changes={"methods.llmesr.alpha": 0.3}), torch.arange(7)
    model = run.build().eval()
    model.on_epoch_start(context_of(model, task.sequences))
    step = step_of(model, task, run)
    torch.manual_seed(0)
    found = step(users)
    torch.manual_seed(0)
    batch = loop.make_batch(model.backbone, task.sequences, users, V, T)
    predicts = batch.targets > 0
    negatives = step.ranking.candidates(batch.users[batch.inputs.row[predicts]])
    states = encode(model, batch.inputs)
    score = lambda items, x: (model.item_vectors(items) * x).sum(-1)  # noqa: E731
    positive = score(batch.targets[predicts], states[predicts])
    negative = score(negatives, states[predicts][:, None])
    bce = -torch.log(torch.sigmoid(positive)).mean() - torch.log(1 - torch.sigmoid(negative)).mean()
    torch.testing.assert_close(found, bce + model.extra_loss(batch, states), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", ["gbce", "sampled_softmax", "cross_entropy"])
def test_a_step_has_the_loss_of_the_whole_table_though_it_looks_up_its_own_items_alone(run_of, task, loss):
    run, users = run_of("gru4rec", "base", {"train.loss": loss, "train.negatives": 3}), torch.tensor([3, 8])
    model = run.build()
    step = step_of(model, task, run)
    torch.manual_seed(0)
    found = step(users)
    batch = loop.make_batch(model.backbone, task.sequences, users, V, T)
    predicts, table = batch.targets > 0, model.item_vectors(torch.arange(V + 2))
    torch.manual_seed(0)
    candidates = step.ranking.candidates(batch.users[batch.inputs.row[predicts]])
    states = encode(model, batch.inputs)[predicts]
    expected = step.ranking(states, table, batch.targets[predicts], candidates, candidates)
    torch.testing.assert_close(found, expected)


def test_users_with_one_item_are_taught_but_predict_nothing(run_of):
    def loss(alpha):
        run = run_of(changes={"methods.llmesr.alpha": alpha})
        model, task = run.build(), Task(sequences_of([3], [4]), V, T, None)
        model.neighbours = torch.tensor([[1], [0]])
        ones = lambda users, **_: torch.ones(len(users), 64)  # noqa: E731
        model.on_epoch_start(TrainContext(0, 0, task.sequences, ones, None, T, None, None))
        return step_of(model, task, run)(torch.tensor([0, 1])).item()

    assert loss(0.1) > 0
    assert loss(0.0) == 0


# --- a look at all users ---


def test_a_look_at_all_users_holds_no_gradient_and_no_dropout(build, sequences):
    model = build(method="base")
    look = context_of(model, sequences)
    first, again = (look.encode(sequences_of([1, 2], [3])) for _ in range(2))
    assert torch.equal(first, again)
    assert not first.requires_grad
    assert model.training
    torch.testing.assert_close(first, Scorer.of(model, V, T).states(sequences_of([1, 2], [3])))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_users_are_encoded_without_the_item_that_is_to_be_predicted(build, backbone):
    model = build(backbone, "base")
    one, other = (context_of(model, sequences_of([1, 2, last], [5, 6])) for last in (3, 4))
    users = torch.tensor([0, 1])
    assert torch.equal(one.encode_users(users), other.encode_users(users))
    assert torch.equal(one.encode_users(users), one.encode_users(users, shard=False))


# --- epochs ---


def test_every_user_is_seen_once_an_epoch(train, task, monkeypatch):
    seen, real = [], Step.forward
    monkeypatch.setattr(Step, "forward", lambda self, users: seen.extend(users.tolist()) or real(self, users))
    train(changes={"train.epochs": 2, "train.batch_size": 7})
    n = len(task.sequences)
    assert sorted(seen[:n]) == sorted(seen[n:]) == list(range(n))
    assert seen[:n] != seen[n:]


def test_a_cloze_batch_has_half_as_many_users_since_each_is_asked_twice(train, monkeypatch):
    sizes, real = [], Step.forward
    monkeypatch.setattr(Step, "forward", lambda self, users: sizes.append(len(users)) or real(self, users))
    train("bert4rec", "base", {"train.epochs": 1, "train.batch_size": 40})
    train("sasrec", "base", {"train.epochs": 1, "train.batch_size": 40}, fingerprint="other")
    assert sizes == [20] * 4 + [10] + [40, 40, 10]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_batch_of_one_trains(train, backbone):
    assert len(train(backbone, "base", {"train.epochs": 1, "train.batch_size": 1}).history) == 1


@pytest.mark.parametrize("loss", ["bce", "gbce", "sampled_softmax", "cross_entropy"])
def test_every_loss_is_learned(train, loss):
    history = train("gru4rec", "base", {"train.epochs": 10, "train.loss": loss, "train.negatives": 32}).history
    assert history[-1]["loss"] < history[0]["loss"]


def test_weight_decay_keeps_weights_small(train):
    free, held = (
        train("gru4rec", "base", {"train.weight_decay": decay}, fingerprint=str(decay)).method for decay in (0.0, 1.0)
    )
    assert held.table.weight.norm() < free.table.weight.norm()


def test_full_ranking_chooses_the_epoch_where_it_is_asked_to(train, monkeypatch):
    """The sampled ranking is best in epoch 1, the full one in epoch 3."""
    of_epoch = {"sampled": [0.5, 0.4, 0.3, 0.2], "full": [0.1, 0.2, 0.4, 0.3]}

    def validate(method, task, distributed, epoch=0, *, protocol="sampled"):
        return {"NDCG@10": of_epoch[protocol][epoch], "HR@10": 0.0}

    monkeypatch.setattr(loop, "validate", validate)
    found = train(method="base", changes={"train.epochs": 4, "train.stop_by": "full"})
    assert found.best_epoch == 3
    assert [row["full NDCG@10"] for row in found.history] == of_epoch["full"]
    assert train(method="base", changes={"train.epochs": 4}, fingerprint="other").best_epoch == 1


def test_full_validation_ranks_all_items_that_are_new(task, build, data):
    model = build(method="base").eval()
    found = loop.validate(model, task, ALONE, protocol="full")
    scorer, targets = Scorer.of(model, V, T), data.validation
    ranks = []
    for user, target in zip(targets.users, targets.items, strict=True):
        history = task.sequences.take(torch.tensor([user]))
        scores = scorer(history)[0]
        others = set(range(1, V + 1)) - set(history.items.tolist()) - {int(target)}
        ranks.append(1 + sum(float(scores[item]) > float(scores[target]) for item in others))
    expected = np.mean([1 / np.log2(rank + 1) if rank <= 10 else 0 for rank in ranks])
    assert found["NDCG@10"] == pytest.approx(expected, abs=1e-6)


def test_it_stops_when_patience_is_over_and_has_the_best_weights(train, monkeypatch):
    values, weights = iter([0.1, 0.3, 0.2, 0.2, 0.3, 0.4]), []

    def validate(method, *_):
        weights.append(method.table.weight.detach().clone())
        return {"NDCG@10": next(values), "HR@10": 0.0}

    monkeypatch.setattr(loop, "validate", validate)
    found = train(method="base", changes={"train.epochs": 9, "train.patience": 3})
    assert [row["epoch"] for row in found.history] == [1, 2, 3, 4, 5]  # an equal value is no better one
    assert found.best_epoch == 2
    assert torch.equal(found.method.table.weight, weights[1])


def test_the_history_has_the_measures_of_each_epoch(train, task):
    found = train(changes={"train.epochs": 3})
    assert all(set(row) == {"epoch", "loss", "NDCG@10", "HR@10", "seconds"} for row in found.history)
    best = max(found.history, key=lambda row: row["NDCG@10"])
    assert found.best_epoch == best["epoch"]
    assert validate(found.method, task, ALONE)["NDCG@10"] == pytest.approx(best["NDCG@10"], abs=1e-9)


def test_validation_ranks_the_held_out_items_among_their_negatives(build, task, data):
    model, targets = build(), data.validation
    histories = data.train.take(torch.tensor(targets.users, dtype=torch.int64))
    ranks = rank(Scorer.of(model, V, T), histories, targets.items, V, negatives=targets.negatives)
    assert validate(model, task, ALONE)["NDCG@10"] == pytest.approx(ndcg(ranks, 10).mean())


def test_a_loss_that_is_not_finite_is_named(train, monkeypatch):
    monkeypatch.setattr(losses, "bce", lambda states, *_: states.sum() * float("nan"))
    with pytest.raises(InputError, match=r"the loss is nan in epoch 1: lower 'train.learning_rate' \(0.005\)"):
        train()


# --- resume ---


@pytest.mark.parametrize(
    ("backbone", "method"),
    [
        ("sasrec", "llmesr"),
        pytest.param("bert4rec", "base", marks=pytest.mark.slow),
        pytest.param("gru4rec", "melt", marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_goes_on_and_ends_as_an_uninterrupted_one_bit_for_bit(
    train, tmp_path, monkeypatch, backbone, method
):
    whole = train(backbone, method, fingerprint="another")
    real, calls = loop.validate, itertools.count(1)

    def killed(*args):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(loop, "validate", killed)
    with pytest.raises(KeyboardInterrupt):
        train(backbone, method)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["epoch"] == 2
    torch.manual_seed(123)  # what was drawn before does not matter
    resumed = train(backbone, method)
    assert next(calls) == 3 + 3  # epochs 3 and 4 only
    assert same_weights(whole.method, resumed.method)
    assert [row["loss"] for row in whole.history] == [row["loss"] for row in resumed.history]


def test_a_finished_run_is_not_trained_again(train, monkeypatch):
    whole = train()
    monkeypatch.setattr(Step, "forward", lambda *_: pytest.fail("a step was made"))
    assert same_weights(train().method, whole.method)


@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_not_resumed(train, tmp_path):
    fresh = train(seed=1)
    (tmp_path / "checkpoint.pt").unlink()
    train(fingerprint="another")
    again = train(seed=1)
    assert same_weights(again.method, fresh.method)


def test_a_damaged_checkpoint_is_named(train, tmp_path):
    checkpoint.save(tmp_path / "checkpoint.pt", {"fingerprint": "mine"})
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=r"checkpoint.pt is damaged: delete it to start the run anew"):
        train()


def test_an_epoch_is_judged_by_its_own_targets(build, sequences):
    model, asked = build(method="base"), []
    few = np.arange(3)
    held_out = Targets(few, few + 1, np.array([[7, 8], [7, 8], [7, 8]], np.int32))
    loop.validate(model, Task(sequences, V, T, lambda epoch: asked.append(epoch) or held_out), ALONE, 5)
    assert asked == [5]


def test_order_and_dropout_of_an_epoch_depend_on_the_seed(run_of, tmp_path):
    """The same first weights, another seed of training: other batches, and another loss."""
    run = run_of(method="base", changes={"train.epochs": 1})
    task = Task(run.data.train, V, T, lambda _: run.data.validation)
    losses_of = []
    for number, seed in enumerate((1, 1, 2)):
        model = run.build()
        fitted = fit(model, task, run.train_settings, seed, tmp_path / f"{number}.pt", "f", ALONE)
        losses_of.append(fitted.history[0]["loss"])
    assert losses_of[0] == losses_of[1] != losses_of[2]
