"""Stage 04: objectives, negatives, losses, the loop, checkpoints."""

import itertools
import json

import pytest
import torch
import yaml
from conftest import ALONE, ROOT, changed, ragged, same
from llmesr import models, train
from llmesr.errors import InputError
from llmesr.models.backbones import BACKBONES
from llmesr.models.contract import Overview
from llmesr.models.methods import METHODS
from llmesr.models.ragged import Ragged
from llmesr.paths import artifact, checkpoint_file, run_folder
from llmesr.prepare.dataset import Targets
from llmesr.train import checkpoint, loop, losses
from llmesr.train.loop import Task, distinct, step_loss, validate
from llmesr.train.losses import RankingLoss
from llmesr.train.negatives import NegativeSampler
from llmesr.train.objectives import make_batch


class Backbone:
    """The two things that an objective asks of a backbone."""

    def __init__(self, objective, mask_share=0.6):
        self.objective, self.mask_share = objective, mask_share


# --- objectives ---


def batch_of(objective, whole, **kwargs):
    return make_batch(Backbone(objective, **kwargs), whole, torch.arange(len(whole.lengths)), n_items=9, max_length=4)


def test_every_position_predicts_its_successor():
    batch = batch_of("every_position", ragged([1, 2, 3], [4], [1, 2, 3, 4, 5, 6]))
    assert batch.inputs.items.tolist() == [1, 2, 4, 2, 3, 4, 5]  # the last row is cut to its latest 4 + 1
    assert batch.targets.tolist() == [2, 3, 0, 3, 4, 5, 6]  # a single item predicts nothing
    assert batch.represents.all()


def test_last_item_predicts_only_the_end():
    batch = batch_of("last_item", ragged([1, 2, 3], [4], [5, 6]))
    assert batch.inputs.items.tolist() == [1, 2, 4, 5]
    assert batch.targets.tolist() == [0, 3, 0, 6]


def test_cloze_hides_targets_and_asks_once_more_for_the_last():
    torch.manual_seed(0)
    whole = ragged([1, 2, 3], [4])
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


def test_cloze_shares():
    torch.manual_seed(0)
    whole = ragged(*[[5] * 4] * 5000)
    batch = batch_of("cloze", whole, mask_share=0.3)
    read, target = batch.inputs.items[:20000], batch.targets[:20000]
    hidden = target > 0
    # each of 4 is hidden with 0.3, and one of them if none was: 0.3 + 0.7⁴ / 4
    assert hidden.float().mean() == pytest.approx(0.3 + 0.7**4 / 4, abs=0.015)
    shown = read[hidden]
    assert (shown == 10).float().mean() == pytest.approx(0.8, abs=0.02)
    assert (shown == 5).float().mean() == pytest.approx(0.1 + 0.1 / 9, abs=0.015)


# --- the loop ---


@pytest.fixture
def given(tiny, data, embeddings, similar):
    return tiny, data, embeddings, similar


def run(given, backbone="sasrec", method="llmesr", seed=42, **changes):
    tiny, data, embeddings, similar = given
    return train.run(changed(tiny, **changes), data, embeddings, similar, backbone, method, seed)


@pytest.mark.parametrize(("backbone", "method"), list(itertools.product(BACKBONES, METHODS)))
def test_a_run_learns_keeps_its_best_weights_and_loads_again(given, backbone, method):
    tiny, data, embeddings, similar = given
    found = run(given, backbone, method, train__epochs=12)
    assert found.history[-1]["loss"] < found.history[0]["loss"]
    best = max(found.history, key=lambda row: row["NDCG@10"])
    assert found.account["best_epoch"] == best["epoch"]
    task = task_of(data, tiny)
    again = train.load(tiny, embeddings, similar, backbone, method, 42)
    for model in (found.model, again.model):
        assert validate(model, task, ALONE)["NDCG@10"] == pytest.approx(found.account["validation_NDCG@10"], abs=1e-9)
    if method not in ("cities", "dualmatch"):  # which change something after training
        assert found.account["validation_NDCG@10"] == pytest.approx(best["NDCG@10"], abs=1e-9)
    assert again.account == found.account
    assert again.history == found.history


def test_melt_goes_on_from_the_trained_plain_backbone(given, monkeypatch):
    plain = run(given, method="none").model.state_dict()
    starts = []

    def spy(model, *rest):
        starts.append({name: value.clone() for name, value in model.state_dict().items()})
        return loop.fit(model, *rest)

    monkeypatch.setattr(train, "fit", spy)
    found = run(given, method="melt")
    assert len(starts) == 2
    for name, value in plain.items():
        assert torch.equal(starts[1][name], value)
    own = sum(epoch["seconds"] for epoch in found.history)
    assert found.account["epochs"] == len(found.history) == 4  # its own
    assert found.account["train_seconds"] > own  # but the time of both
    assert not list((artifact("tiny", "train").parents[2] / "runs").rglob("*.pt"))


def test_a_checkpoint_of_other_code_is_not_resumed(given, tmp_path, monkeypatch):
    tiny, _, _, _ = given
    before = train._identity(tiny, "sasrec", "none", 1, [])
    assert before == train._identity(tiny, "sasrec", "none", 1, [])
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "new.py").write_text("x = 1")
    monkeypatch.setattr(train, "CODE", (*train.CODE, tmp_path / "code"))
    assert before != train._identity(tiny, "sasrec", "none", 1, [])


def task_of(data, settings):
    whole = Ragged.of(data.train.items, data.train.lengths)
    return Task(whole, data.n_items, settings.model.max_length, lambda epoch: data.validation)


def test_a_run_writes_what_its_stage_declares_and_nothing_else(given):
    run(given, train__epochs=1)
    folder = run_folder("tiny", "sasrec", "llmesr", 42)
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["train"]
    declared = [entry if isinstance(entry, str) else next(iter(entry)) for entry in stage["outs"] + stage["plots"]]
    inside = [path.partition("${item.seed}/")[2] for path in declared]
    written = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    assert not [file for file in written if not any(f"{file}/".startswith(f"{path}/") for path in inside)]
    assert not [path for path in inside if not (folder / path).exists()]


def test_measures_are_logged_apart_and_copied_when_they_are_whole(tmp_path):
    """Another process that trains the same run must not find, or leave, half a file."""
    found = tmp_path / "live" / "metrics.json"
    with train._live(tmp_path) as one, train._live(tmp_path) as other:
        for live in (one, other):
            live.log_metric("loss", 0.5)
            live.next_step()
        assert not found.exists()
    assert json.loads(found.read_text(encoding="utf-8"))["loss"] == 0.5


def test_same_seed_same_weights_other_seed_others(given):
    first, again, other = run(given), run(given), run(given, seed=43)
    assert same(first.model, again.model)
    assert not same(first.model, other.model)


@pytest.mark.parametrize(("backbone", "method"), list(itertools.product(BACKBONES, METHODS)))
def test_half_precision_learns_nearly_the_same_in_float32_weights(given, backbone, method):
    plain, half = (
        run(given, backbone, method, train__epochs=2, train__precision=precision)
        for precision in ("float32", "bfloat16")
    )
    assert not same(plain.model, half.model)
    assert torch.bfloat16 not in {value.dtype for value in half.model.state_dict().values()}
    for one, other in zip(plain.history, half.history, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=0.05)


def test_every_user_is_seen_once_an_epoch(given, monkeypatch):
    seen = []
    real = loop.step_loss

    def spy(model, task, ranking, users, team):
        seen.extend(users.tolist())
        return real(model, task, ranking, users, team)

    monkeypatch.setattr(loop, "step_loss", spy)
    run(given, train__epochs=1, train__batch_size=7)
    assert sorted(seen) == list(range(given[1].n_users))


@pytest.mark.parametrize("loss", ["gbce", "sampled_softmax", "cross_entropy"])
def test_every_loss_trains(given, loss):
    history = run(given, train__epochs=10, train__loss=loss, train__negatives=32).history
    assert history[-1]["loss"] < history[0]["loss"]


def test_a_batch_of_one_trains_every_backbone(given):
    for backbone in BACKBONES:
        assert len(run(given, backbone, "none", train__epochs=1, train__batch_size=1).history) == 1


def test_stops_when_patience_is_over(given, monkeypatch):
    values = iter([0.1, 0.3, 0.2, 0.2, 0.3, 0.4])
    monkeypatch.setattr(loop, "validate", lambda *_: {"NDCG@10": next(values), "HR@10": 0.0})
    found = run(given, train__epochs=9, train__patience=3)
    assert len(found.history) == 5  # an equal value is no better one
    assert found.account["best_epoch"] == 2


@pytest.mark.parametrize("backbone", BACKBONES)
def test_resumed_run_ends_as_an_uninterrupted_one(given, killed_in_the_third_epoch, backbone):
    whole = run(given, backbone)
    calls = killed_in_the_third_epoch()
    with pytest.raises(KeyboardInterrupt):
        run(given, backbone)
    file = checkpoint_file("tiny", backbone, "llmesr", 42)
    assert torch.load(file, weights_only=True)["epoch"] == 2
    resumed = run(given, backbone)
    assert next(calls) == 3 + 3  # epochs 3 and 4 only
    assert same(whole.model, resumed.model)
    assert [row["loss"] for row in whole.history] == [row["loss"] for row in resumed.history]
    assert not file.exists()


def test_checkpoint_of_other_settings_is_not_resumed(given, monkeypatch):
    fresh = run(given, train__learning_rate=0.001)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1)
    real = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda file, state: (real(file, state), (_ for _ in ()).throw(OSError)))
    with pytest.raises(OSError):
        run(given)
    monkeypatch.setattr(checkpoint, "save", real)
    assert same(run(given, train__learning_rate=0.001).model, fresh.model)


def test_damaged_checkpoint_is_named(given):
    file = checkpoint_file("tiny", "sasrec", "llmesr", 42)
    checkpoint.save(file, {"fingerprint": "x", "model": {"weight": torch.ones(100, 100)}})
    whole = file.read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"sasrec-llmesr-42.pt is damaged: delete it to start the run anew"):
            checkpoint.load(file, "x")
    with pytest.raises(InputError, match=r"sasrec-llmesr-42.pt is damaged: delete it to start the run anew"):
        run(given)


def test_loss_that_is_not_finite_is_named(given, monkeypatch):
    monkeypatch.setattr(losses, "bce", lambda states, *_: states.sum() * float("nan"))
    with pytest.raises(InputError, match=r"the loss is nan in epoch 1: lower 'train.learning_rate' \(0.005\)"):
        run(given)


def test_missing_and_damaged_runs_are_named(given):
    tiny, _, embeddings, similar = given
    with pytest.raises(InputError, match=r"missing: run `dvc repro train@sasrec-none-42` first"):
        train.load(tiny, embeddings, similar, "sasrec", "none", 42)
    run(given, method="none")
    weights = run_folder("tiny", "sasrec", "none", 42) / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"damaged or of other settings .* delete it and run `dvc repro train@"):
        train.load(tiny, embeddings, similar, "sasrec", "none", 42)


def test_redrawn_validation_negatives_differ_by_epoch_and_avoid_what_was_had(given):
    tiny, data, *_ = given
    targets = train.validation_targets(data, changed(tiny, train__redraw_negatives=True), seed=1)
    first, second, again = targets(0), targets(1), targets(0)
    assert (first.negatives != second.negatives).any()
    assert (first.negatives == again.negatives).all()
    for user, item, negatives in zip(first.users, first.items, first.negatives, strict=True):
        assert not {*data.train[user], item} & set(negatives)
    fixed = train.validation_targets(data, tiny, seed=1)
    assert isinstance(fixed(0), Targets)
    assert fixed(0) is fixed(1) is data.validation


def test_training_never_looks_at_the_test_split(given):
    before = run(given)
    (artifact("tiny", "prepare") / "test.parquet").unlink()
    assert same(run(given).model, before.model)


def test_users_with_one_item_are_taught_but_predict_nothing(given):
    tiny, _, embeddings, similar = given
    model = models.build(tiny, "sasrec", "llmesr", 0, embeddings, similar)
    whole = ragged([3], [4])
    task = Task(whole, 48, 20, None)
    model.neighbours = torch.tensor([[1], [0]])
    model.start_epoch(Overview(0, 0, whole, lambda users: torch.ones(len(users), 64), None, None, None, None))
    ranking = RankingLoss(train.with_loss(tiny.train, "none"), NegativeSampler(whole, 48))
    loss = step_loss(model, task, ranking, torch.tensor([0, 1]), ALONE)
    assert loss.item() > 0
    model.settings = model.settings.model_copy(update={"alpha": 0.0})
    assert step_loss(model, task, ranking, torch.tensor([0, 1]), ALONE).item() == 0


def test_distinct_ids_and_their_places_are_those_of_unique():
    ids = torch.tensor([5, 2, 5, 0, 7])
    for found, expected in zip(distinct(ids, 9), ids.unique(return_inverse=True), strict=True):
        assert torch.equal(found, expected)
