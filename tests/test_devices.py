"""Which device computes, and how."""

import os

import pytest
import torch
from llmesr.devices import cpu_threads, pick_device
from llmesr.errors import InputError


def test_a_gpu_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"'train.device' is 'cuda' but torch sees no GPU: set it to 'auto' or 'cpu'"):
        pick_device("cuda")
    assert pick_device("auto").type == "cpu"


def test_a_gpu_is_made_deterministic_and_exact_before_it_is_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "x")  # so that it is put back afterwards
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert pick_device("cpu").type == "cpu"
    assert torch.backends.cudnn.allow_tf32
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    assert pick_device("auto").type == "cuda"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.backends.cudnn.allow_tf32
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    pick_device("cuda")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_threads_are_put_back_even_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="stop"), cpu_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ValueError("stop")
    assert torch.get_num_threads() == before
