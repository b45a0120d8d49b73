"""Two processes that train one model learn what one process does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import ALONE, changed, ragged
from llmesr import train
from llmesr.models.contract import Batch
from llmesr.paths import artifact
from llmesr.train.__main__ import main
from safetensors.numpy import save_file
from safetensors.torch import load_file

SCRIPT = Path(__file__).parent / "team_run.py"


def launch(root, backbone, method, processes):
    """Start processes as `accelerate launch` does on GPUs; on CPUs it asks for MPI, which torchrun does not."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += [str(SCRIPT), str(root), "--params", str(root / "params.yaml"), "--backbone", backbone]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, "--method", method], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    folder = artifact("tiny", "train") / backbone / method / "42"
    assert json.loads((folder / "run.json").read_text())["processes"] == processes
    history = json.loads((folder / "history.json").read_text())["epochs"]
    return load_file(folder / "weights.safetensors"), [epoch["loss"] for epoch in history], history[-1]["NDCG@10"]


@pytest.mark.parametrize(("backbone", "method"), [("sasrec", "llmesr"), ("bert4rec", "none")])
def test_two_processes_learn_what_one_does(root, tiny, data, embeddings, similar, backbone, method):
    settings = changed(tiny, model__dropout=0.0, train__epochs=3, train__batch_size=14, train__learning_rate=0.0001)
    (root / "params.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json", by_alias=True)))
    for room, file, tables in (("embed", "embeddings", embeddings), ("retrieve", "neighbours", similar)):
        artifact("tiny", room).mkdir(parents=True, exist_ok=True)
        save_file(
            {name: np.ascontiguousarray(table) for name, table in vars(tables).items()},
            artifact("tiny", room) / f"{file}.safetensors",
        )
    alone = train.run(settings, data, embeddings, similar, backbone, method, 42)
    weights, losses, ndcg = launch(root, backbone, method, 2)
    assert losses == pytest.approx([epoch["loss"] for epoch in alone.history], rel=1e-4)
    assert ndcg == pytest.approx(alone.history[-1]["NDCG@10"], abs=1e-6)
    for name, value in alone.model.state_dict().items():
        if not name.endswith("key_value.bias"):  # softmax ignores a key's bias: its gradient is rounding alone
            torch.testing.assert_close(weights[name], value, atol=1e-4, rtol=1e-3, msg=name)


def test_a_process_alone_does_all():
    rows = torch.tensor([5, 3, 9])
    assert torch.equal(ALONE.together(rows, lambda share: share * 2), rows * 2)
    assert ALONE.writes
    assert ALONE.mine(3).tolist() == [0, 1, 2]


def test_a_share_of_a_batch_by_hand():
    represents = torch.tensor([False, True, True])
    batch = Batch(torch.tensor([7, 8, 9]), ragged([1, 2], [3], [4, 5, 6]), torch.arange(6), represents)
    share = batch.take(torch.tensor([0, 2]))
    assert share.users.tolist() == [7, 9]
    assert share.inputs.items.tolist() == [1, 2, 4, 5, 6]
    assert share.targets.tolist() == [0, 1, 3, 4, 5]
    assert share.represented.tolist() == [9]
    assert share.last.tolist() == [4]


def test_an_unknown_method_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["llmesr.train", "--backbone", "sasrec", "--method", "llmers"])
    with pytest.raises(SystemExit):
        main()
    assert "'llmers' is not among 'methods'" in capsys.readouterr().err
