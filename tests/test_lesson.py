"""Lessons open in any order, and never on what other settings left."""

import json

import nbformat
import pytest
from conftest import ROOT, changed
from llmesr import evaluate, lesson, prepare, train
from llmesr.errors import InputError
from llmesr.paths import artifact, results, run_folder


@pytest.fixture
def computed(embeddings, monkeypatch):
    """Count what is computed; embeddings are made up."""
    calls = []

    def spy(room, real):
        return lambda *args: (calls.append(room), real(*args))[1]

    monkeypatch.setattr(prepare, "run", spy("prepare", prepare.run))
    monkeypatch.setattr(train, "run", spy("train", train.run))
    monkeypatch.setattr(evaluate, "run", spy("evaluate", evaluate.run))
    monkeypatch.setattr(lesson.embed, "run", lambda *_: embeddings)
    monkeypatch.setattr(lesson.embed, "load", lambda *_: embeddings)
    return calls


def one_run(tiny, **changes):
    matrix = {"matrix__backbones": ["sasrec"], "matrix__methods": ["none"], "matrix__seeds": [1]}
    return changed(tiny, train__epochs=1, **matrix, **changes)


def test_what_is_there_is_not_computed_again(tiny, computed):
    for _ in range(2):
        lesson.evaluated(one_run(tiny))
        lesson.trained(one_run(tiny))
    assert computed == ["prepare", "train", "evaluate"]


def test_what_other_settings_left_is_computed_anew(tiny, computed):
    lesson.evaluated(one_run(tiny))
    lesson.evaluated(one_run(tiny, model__dropout=0.1))
    assert computed == ["prepare", "train", "evaluate"] * 2
    assert json.loads((run_folder("tiny", "sasrec", "none", 1) / "run.json").read_text())["seed"] == 1
    before = lesson.prepared(one_run(tiny)).card["tail_items"]
    assert lesson.prepared(one_run(tiny, prepare__tail_quantile=0.3)).card["tail_items"] < before
    assert not (results("tiny") / "metrics.csv").exists()


def test_lesson_1_in_between_is_noticed(tiny, computed):
    lesson.evaluated(one_run(tiny))
    other = one_run(tiny, prepare__tail_quantile=0.3)
    lesson.start(other)  # as lesson 1 does
    prepare.run(other)
    again = lesson.prepared(one_run(tiny))
    assert again.card["tail_items"] > 0.7
    assert computed == ["prepare", "train", "evaluate", "prepare", "prepare"]


def test_every_lesson_starts_with_its_settings():
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        code = "\n".join(cell.source for cell in nbformat.read(notebook, 4).cells if cell.cell_type == "code")
        (line,) = [line for line in code.splitlines() if line.startswith("from llmesr.lesson import ")]
        names = line.removeprefix("from llmesr.lesson import ").split(", ")
        calls = [code.index(f"{name}(") for name in names]
        assert min(calls) > code.index("settings = load(params)"), notebook.stem


def test_other_datasets_are_left_alone(tiny, root):
    mine = artifact("mine", "prepare") / "card.json"
    mine.parent.mkdir(parents=True)
    mine.write_text("{}")
    other = changed(tiny, data__name="mine")
    lesson.start(other)
    assert mine.exists()
    assert not artifact("mine", "settings.json").exists()
    with pytest.raises(InputError, match=r"train.parquet is missing: run `dvc repro prepare` first"):
        lesson.prepared(other)
