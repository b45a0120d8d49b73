"""Nothing is lost: a process killed with SIGKILL, at any moment, and begun again ends as one that was not."""

import pytest
import torch
from helpers import finished, kill_when
from llmesr.runs.training import train
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

TRAIN = """
import sys
from llmesr.runs.__main__ import main
sys.argv[1:] = ["--params", str(paths.ROOT / "params.yaml"), "--backbone", "sasrec", "--method", "llmesr"]
main()
"""


@pytest.fixture
def whole(run_of):
    """A run that was trained without a break, its weights, and its empty folder."""
    run = run_of(changes={"train.epochs": 25, "train.patience": 25})
    weights = train(run).method.state_dict()
    for file in run.folder.iterdir():
        file.unlink()
    return run, weights


def equal(run, weights):
    found = load_file(run.folder / "weights.safetensors")
    return found.keys() == weights.keys() and all(torch.equal(found[name], value) for name, value in weights.items())


def test_a_killed_run_ends_as_one_that_was_not(whole, shell):
    run, weights = whole
    checkpoint = run.folder / "checkpoint.pt"
    kill_when(shell(run.settings, TRAIN), checkpoint.exists)
    assert 0 < torch.load(checkpoint, weights_only=True)["epoch"] < 25
    assert not run.is_trained
    finished(shell(run.settings, TRAIN))
    assert run.is_trained
    assert equal(run, weights)
    assert not checkpoint.exists()


def test_two_at_once_in_one_checkout_leave_what_one_would(whole, shell):
    """Both write the same run, and its checkpoint after every epoch."""
    run, weights = whole
    for process in [shell(run.settings, TRAIN) for _ in range(2)]:
        finished(process)
    assert equal(run, weights)
    assert run.load().account["epochs"] == 25
    assert sorted(file.name for file in run.folder.iterdir()) == ["history.json", "run.json", "weights.safetensors"]
