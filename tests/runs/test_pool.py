"""Many runs at a time: only what is missing is trained, and a run that fails does not keep the others from it."""

import re
import shutil

import pytest
import torch
from helpers import finished, same_weights
from llmesr.errors import InputError
from llmesr.runs import pool
from llmesr.runs.pool import train_all, workers
from llmesr.runs.training import train

ONE_EPOCH = {"train.epochs": 1, "train.workers": 1}  # a single worker is this process itself


@pytest.fixture
def trained(monkeypatch):
    """The names of the runs that are trained, in their order."""
    names, real = [], pool.train

    def spy(run):
        names.append(run.name)
        return real(run)

    monkeypatch.setattr(pool, "train", spy)
    return names


def test_only_what_is_missing_is_trained(run_of, trained):
    runs = [run_of("gru4rec", "base", ONE_EPOCH, seed) for seed in (1, 2)]
    first = train_all(runs)
    again = train_all([*runs, run_of("gru4rec", "base", ONE_EPOCH, 3)])
    assert trained == ["gru4rec-base-1", "gru4rec-base-2", "gru4rec-base-3"]
    assert [run.account["seed"] for run in again] == [1, 2, 3]
    assert all(same_weights(one.method, other.method) for one, other in zip(first, again[:2], strict=True))
    assert train_all([]) == []


def test_equal_runs_are_trained_once_and_each_is_answered(run_of, trained):
    variant = {**ONE_EPOCH, "methods.llmesr.alpha": 0.9}  # which the base has no use for
    found = train_all([run_of("gru4rec", "base", ONE_EPOCH), run_of("gru4rec", "base", variant)])
    assert trained == ["gru4rec-base-42"]
    assert [run.account["method"] for run in found] == ["base", "base"]


def test_what_a_method_starts_from_is_trained_first(run_of, trained):
    methods = ["melt", "cities", "llmesr"]
    changes = {**ONE_EPOCH, "methods.cities.epochs": 1}
    found = train_all([run_of("gru4rec", method, changes) for method in methods])
    assert [run.account["method"] for run in found] == methods
    assert sorted(trained[:2]) == ["gru4rec-base-42", "gru4rec-llmesr-42"]
    assert trained[2:] == ["gru4rec-melt-42", "gru4rec-cities-42"]


def test_a_run_that_fails_is_named_and_the_others_are_finished(run_of):
    bad = run_of("sasrec", "base", {**ONE_EPOCH, "train.learning_rate": 1e30})
    good = run_of("gru4rec", "base", ONE_EPOCH, 2)
    with pytest.raises(InputError) as error:
        train_all([bad, good])
    assert str(error.value).startswith(
        f"1 of 2 runs failed, the others are finished. {bad.folder.name}: the loss is nan in epoch"
    )
    assert good.is_trained
    assert not bad.is_trained


def test_what_starts_from_a_failed_run_is_not_tried(run_of, trained):
    bad = run_of("sasrec", "melt", {**ONE_EPOCH, "train.learning_rate": 1e30})
    with pytest.raises(InputError) as error:
        train_all([bad])
    message = str(error.value)
    assert message.startswith(f"2 of 2 runs failed, the others are finished. {bad.start.folder.name}: the loss is nan")
    assert message.endswith(f"{bad.folder.name}: the run that it starts from failed")
    assert trained == ["sasrec-base-42"]


def test_a_stored_run_does_not_need_what_it_started_from(run_of, trained):
    run = run_of("gru4rec", "melt", ONE_EPOCH)
    train_all([run])
    shutil.rmtree(run.start.folder)
    train_all([run])
    assert trained == ["gru4rec-base-42", "gru4rec-melt-42"]


def test_an_unexpected_error_is_named_with_the_end_of_its_log(run_of, monkeypatch):
    def broken(run):
        print("about to break")
        raise ZeroDivisionError("too small")

    run = run_of("gru4rec", "base", ONE_EPOCH)
    monkeypatch.setattr(pool, "train", broken)
    with pytest.raises(InputError, match=r"gru4rec-base-42-\w+: ZeroDivisionError: too small; runs/\S+/log.txt ends"):
        train_all([run])
    assert "about to break" in (run.folder / "log.txt").read_text()


def test_a_folder_that_cannot_be_written_is_named(run_of):
    run = run_of("gru4rec", "base", ONE_EPOCH)
    run.folder.parent.mkdir(parents=True)
    run.folder.write_text("a file where the folder should be")
    with pytest.raises(InputError, match=r"gru4rec-base-42-\w+: \S+ cannot be written \(.+\): make"):
        train_all([run])


def test_one_bar_of_runs_and_no_line_an_epoch(run_of, capfd):
    train_all([run_of("gru4rec", "base", {**ONE_EPOCH, "train.epochs": 5}, seed) for seed in (1, 2)], "main table")
    printed = "".join(capfd.readouterr())
    assert re.search(r"main table: 100%.*2/2", printed)
    assert "epoch" not in printed
    assert "NDCG" not in printed
    train_all([run_of("gru4rec", "base", {**ONE_EPOCH, "train.epochs": 5}, 1)])
    assert "".join(capfd.readouterr()) == ""  # nothing is left to do


def test_auto_is_a_worker_a_core_or_a_gpu(tiny, monkeypatch):
    settings = tiny.train.model_copy(update={"workers": "auto", "threads": 2})
    monkeypatch.setattr(pool.os, "sched_getaffinity", lambda _: set(range(8)))
    assert workers(settings) == 4
    assert workers(settings.model_copy(update={"workers": 3})) == 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 5)
    assert workers(settings) == 4  # on the CPU
    assert workers(settings.model_copy(update={"device": "auto"})) == 5


# --- workers in processes of their own ---


@pytest.mark.slow
def test_workers_learn_what_this_process_learns(run_of):
    two = {"train.epochs": 2, "train.workers": 2}
    runs = [run_of("gru4rec", method, two, seed) for method in ("base", "melt") for seed in (1, 2)]
    found = train_all(runs)
    for run in runs:
        for file in run.folder.iterdir():
            file.unlink()
    for run, trained in zip(runs, found, strict=True):
        assert same_weights(train(run).method, trained.method)


TOY = '''
import os
import signal
from pathlib import Path

from llmesr.models.base import Method
from llmesr.models.inputs import random_table
from llmesr.section import Section


class Mortal(Method):
    """Dies in its second epoch: with seed 1 once, with seed 2 always."""

    name = "mortal"
    title = "Mortal"

    class Settings(Section):
        """None."""

    def __init__(self, settings, inputs, backbone):
        super().__init__(settings, inputs, backbone)
        self.table = random_table(inputs.n_items, inputs.hidden)

    def on_epoch_start(self, context):
        died = Path(__file__).with_name("died")
        if context.epoch == 1 and (context.seed == 2 or context.seed == 1 and not died.exists()):
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
'''
REGISTER = """
from llmesr.models.registry import METHODS
from mortal import Mortal
METHODS["mortal"] = Mortal
"""
TRAIN = """
from llmesr import embed, retrieve
from llmesr.errors import InputError
from llmesr.prepare import dataset
from llmesr.runs.inputs import model_inputs
from llmesr.runs.pool import train_all
from llmesr.runs.store import Run
from llmesr.settings import load

if __name__ == "__main__":
    settings, data = load(paths.ROOT / "params.yaml"), dataset.load("tiny")
    inputs = model_inputs(embed.load("tiny"), retrieve.load("tiny"))
    runs = [Run(settings, "gru4rec", method, seed, data, inputs) for method, seed in {}]
    try:
        train_all(runs)
    except InputError as error:
        print(error)
    print("trained:", [run.name for run in runs if run.is_trained])
    print("epochs:", [run.load().account["epochs"] for run in runs if run.is_trained])
"""


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_no_run_and_one_that_always_dies_is_named(root, shell, tiny):
    modules = root / "modules"
    modules.mkdir()
    (modules / "mortal.py").write_text(TOY)
    (modules / "sitecustomize.py").write_text(REGISTER)  # every process starts with it
    asked = [("mortal", 1), ("base", 1), ("mortal", 2), ("melt", 1)]
    code = TRAIN.replace("{}", repr(asked))
    printed = finished(shell(tiny.changed({"train.workers": 2}), code), 400)
    assert re.search(
        r"1 of 4 runs failed, the others are finished. gru4rec-mortal-2-\w+: its process died, perhaps", printed
    )
    names = ["gru4rec-mortal-1", "gru4rec-base-1", "gru4rec-melt-1"]
    assert f"trained: {names}" in printed
    assert "epochs: [4, 4, 4]" in printed
    assert (modules / "died").exists()
