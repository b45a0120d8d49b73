"""Checkpoints are written whole, read by their own run only, and named when they are damaged."""

import pytest
import torch
from llmesr.errors import InputError
from llmesr.train import checkpoint


def test_a_run_reads_its_own_checkpoint_and_no_other(tmp_path):
    file = tmp_path / "checkpoint.pt"
    assert checkpoint.load(file, "mine") is None
    checkpoint.save(file, {"fingerprint": "mine", "weight": torch.ones(3)})
    assert checkpoint.load(file, "mine")["weight"].tolist() == [1, 1, 1]
    assert checkpoint.load(file, "another") is None


def test_a_damaged_one_is_named(tmp_path):
    file = tmp_path / "checkpoint.pt"
    checkpoint.save(file, {"fingerprint": "mine", "weight": torch.ones(100, 100)})
    whole = file.read_bytes()
    for content in (b"", whole[:100], whole[: len(whole) // 2], whole[:-1], b"\x80nonsense" * 99):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"checkpoint.pt is damaged: delete it to start the run anew"):
            checkpoint.load(file, "mine")
    torch.save([1, 2], file)
    with pytest.raises(InputError, match=r"checkpoint.pt is damaged"):
        checkpoint.load(file, "mine")


def test_one_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "folder").write_text("a file where the folder should be")
    with pytest.raises(InputError, match=r"checkpoint.pt cannot be written \("):
        checkpoint.save(tmp_path / "folder" / "checkpoint.pt", {"fingerprint": "mine"})
