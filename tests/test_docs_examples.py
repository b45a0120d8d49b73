"""The examples of the docs are code that works and that the linter accepts."""

import re
import subprocess
import sys

import pytest
import torch
from helpers import ROOT, D, T, sequences_of
from llmesr.models.backbones.base import ModelSettings

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extend.md").read_text(), re.S)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.splitlines()[0])
def test_an_example_passes_the_linter(example):
    place = ROOT / "lib" / "llmesr" / "models" / "methods" / "example.py"
    command = [sys.executable, "-m", "ruff", "check", "--stdin-filename", str(place), "-"]
    done = subprocess.run(command, input=example, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_the_example_of_a_backbone_sees_the_past_only(monkeypatch):
    (source,) = [text for text in EXAMPLES if "(Backbone)" in text]
    scope: dict = {}
    exec(source, scope)  # our own page
    torch.manual_seed(0)
    kind = scope["Convolution"]
    backbone = kind(kind.Settings(), ModelSettings(hidden=D), T).eval()
    sequences = sequences_of([1, 2, 3, 4, 5, 6], [7, 8])
    x = torch.randn(8, D)
    changed = x.clone()
    changed[5] += 1  # the last item of the first sequence
    before, after = backbone.encode(x, sequences), backbone.encode(changed, sequences)
    assert before.shape == (8, D)
    torch.testing.assert_close(before[[0, 1, 2, 3, 4, 6, 7]], after[[0, 1, 2, 3, 4, 6, 7]])
    assert not torch.allclose(before[5], after[5])
