"""Lessons open in any order, and never on what other settings left."""

import numpy as np
import polars as pl
import pytest
from llmesr import prepare
from llmesr import tiny as pipeline
from llmesr.errors import InputError
from llmesr.paths import artifact, results
from llmesr.prepare import dataset
from llmesr.runs import pool
from safetensors.numpy import save_file

ONE_RUN = {
    "train.epochs": 1,
    "train.workers": 1,
    "matrix.backbones": ["sasrec"],
    "matrix.methods": ["base"],
    "matrix.seeds": [1],
    "recommend.methods": ["base"],
    "recommend.seed": 1,
}


@pytest.fixture
def settings_of(tiny, root):
    """Settings with one run, and some changed."""
    return lambda changes=None: tiny.changed({**ONE_RUN, **(changes or {})})


@pytest.fixture
def computed(root, embeddings, monkeypatch):
    """Record which stages and runs are computed; embeddings are random, and views of items empty."""
    calls, train = [], pool.train

    def embed(_):
        folder = artifact("tiny", "embed")
        folder.mkdir(parents=True)
        arrays = {name: np.ascontiguousarray(array) for name, array in vars(embeddings).items()}
        save_file(arrays, folder / "embeddings.safetensors")

    def modalities(_):
        dataset.save_frame(pl.DataFrame({"view": []}), artifact("tiny", "modalities") / "coverage.parquet")

    def spy(stage, compute):
        return lambda settings: (calls.append(stage), compute(settings))[1]

    fakes = {"embed": embed, "modalities": modalities}
    for stage, (output, compute) in pipeline.STAGES.items():
        monkeypatch.setitem(pipeline.STAGES, stage, (output, spy(stage, fakes.get(stage, compute))))
    monkeypatch.setattr(pool, "train", lambda run: (calls.append(run.name), train(run))[1])
    return calls


@pytest.mark.parametrize("until", pipeline.NEEDS)
def test_a_lesson_computes_what_it_needs_in_order_and_no_more(settings_of, computed, until):
    pipeline.run(settings_of(), until)
    assert [call for call in computed if call in pipeline.STAGES] == list(pipeline.NEEDS[until])
    assert computed[-1] == ("sasrec-base-1" if until in ("evaluate", "recommend") else until)


def test_what_is_there_is_not_computed_again(settings_of, computed):
    for until in ("prepare", "evaluate", "retrieve", "evaluate"):
        pipeline.run(settings_of(), until)
    assert computed == ["prepare", "embed", "retrieve", "evaluate", "sasrec-base-1"]


def test_a_stage_that_was_interrupted_is_computed_again(settings_of, computed):
    pipeline.run(settings_of(), "evaluate")
    (artifact("tiny", "evaluate") / "ranks.parquet").unlink()  # its last file
    pipeline.run(settings_of(), "evaluate")
    assert computed == ["prepare", "embed", "retrieve", "evaluate", "sasrec-base-1", "evaluate"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "anew"),
    [
        ({"prepare.negatives": 10}, ["prepare", "embed", "retrieve", "evaluate", "sasrec-base-1"]),
        ({"retrieve.neighbours": 7}, ["retrieve", "evaluate", "sasrec-base-1"]),
        ({"train.learning_rate": 0.01}, ["evaluate", "sasrec-base-1"]),
        ({"recommend.k": 3, "report.metric": "HR@10"}, []),
    ],
)
def test_what_other_settings_of_a_stage_left_is_computed_anew_and_no_more(settings_of, computed, changes, anew):
    pipeline.run(settings_of(), "evaluate")
    computed.clear()
    other = settings_of(changes)
    pipeline.start(other)
    assert (results("tiny", "evaluate") / "metrics.csv").exists() == (not anew)
    pipeline.run(other, "evaluate")
    assert computed == anew


@pytest.mark.slow
def test_going_back_to_settings_trains_nothing_again(settings_of, computed):
    for changes in ({}, {"model.dropout": 0.1}, {}):
        pipeline.run(settings_of(changes), "evaluate")
    assert computed.count("evaluate") == 3
    assert computed.count("sasrec-base-1") == 2


def test_a_first_lesson_under_other_settings_in_between_is_noticed(settings_of, computed):
    pipeline.run(settings_of(), "prepare")
    before = dataset.load("tiny").card["tail_items"]
    other = settings_of({"prepare.tail_quantile": 0.3})
    pipeline.start(other)  # as lesson 1 does
    assert prepare.run(other).card["tail_items"] < before
    pipeline.run(settings_of(), "prepare")
    assert dataset.load("tiny").card["tail_items"] == before


def test_other_datasets_are_left_alone(settings_of, computed):
    files = [artifact(name, "prepare") / "card.json" for name in ("mine", "tiny-shop")]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_text("{}")
    for changes in ({}, {"model.dropout": 0.1}):
        pipeline.start(settings_of(changes))
    pipeline.start(settings_of({"dataset": "tiny-shop"}))
    other = settings_of({"dataset": "mine"})
    pipeline.run(other, "evaluate")
    assert all(file.exists() for file in files)
    assert not artifact("mine", "settings.json").exists()
    assert computed == []
    with pytest.raises(InputError, match=r"mine/prepare/train.parquet is missing: run `dvc repro prepare` first"):
        dataset.load("mine")
