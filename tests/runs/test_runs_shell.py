"""`python -m llmesr.runs` trains one run on what the stages made."""

import sys

import pytest
import yaml
from llmesr import tiny as pipeline
from llmesr.runs.__main__ import main


@pytest.fixture
def call(artifacts, root, tiny, monkeypatch):
    (root / "params.yaml").write_text(yaml.safe_dump(tiny.model_dump(mode="json")))
    pipeline.note(tiny)  # the artifacts are those of these settings
    return lambda *words: (monkeypatch.setattr(sys, "argv", ["llmesr.runs", *words]), main())


def test_it_trains_the_run_that_is_named(call, run_of):
    call("--backbone", "gru4rec", "--method", "base", "--seed", "7")
    assert run_of("gru4rec", "base", seed=7).is_trained  # arrays from files are the same run


def test_artifacts_of_other_settings_are_made_anew(call, artifacts, tiny, monkeypatch):
    """Not taken as they are, which would train another run than the one that was asked for."""
    made = []
    for stage, (output, _) in pipeline.STAGES.items():
        monkeypatch.setitem(pipeline.STAGES, stage, (output, lambda _, stage=stage: made.append(stage)))
    pipeline.note(tiny.changed({"retrieve.neighbours": 7}))
    with pytest.raises(SystemExit):  # nothing was made, so the run finds no neighbours
        call("--backbone", "gru4rec", "--method", "base")
    assert made == ["retrieve"]


@pytest.mark.parametrize(
    ("backbone", "method", "message"),
    [
        ("sasrec", "llmers", "'llmers' is not among 'methods': base, cities"),
        ("sas", "base", "'sas' is not among 'backbones': gru4rec, bert4rec, sasrec"),
    ],
)
def test_an_unknown_name_is_one_sentence(call, capsys, backbone, method, message):
    with pytest.raises(SystemExit):
        call("--backbone", backbone, "--method", method)
    assert message in capsys.readouterr().err


def test_a_stage_that_has_not_run_is_one_sentence(call, artifacts, capsys, monkeypatch):
    monkeypatch.setattr("llmesr.tiny.TINY", "another")  # whose stages would run on the spot
    (artifacts / "embed" / "embeddings.safetensors").unlink()
    with pytest.raises(SystemExit):
        call("--backbone", "gru4rec", "--method", "base")
    assert "embeddings.safetensors is missing: run `dvc repro embed` first" in capsys.readouterr().err
