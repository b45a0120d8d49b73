"""The benchmarks measure like with like, and their tables say what was measured."""

import sys

import numpy as np
import polars as pl
import pytest
from helpers import ROOT
from llmesr.errors import InputError
from llmesr.models.scoring import Scorer, rank
from llmesr.paths import results
from llmesr.retrieve import similar_users

from benchmarks import __main__ as main
from benchmarks import recbole
from benchmarks.about import ABOUT
from benchmarks.inputs import task_of, trained
from benchmarks.plan import COMPARISONS
from benchmarks.retrieval import in_blocks
from benchmarks.serving import crowd
from benchmarks.table import read, rows, write
from benchmarks.timing import Comparison, Sample, Side, measure


def test_every_comparison_is_described():
    assert list(ABOUT) == list(COMPARISONS)


def test_our_side_trains_as_many_epochs_as_asked_and_ranks_all_items(run_of):
    run = run_of(method="base")
    values, note = recbole.ours(run, epochs=2)
    assert set(values) == {"epoch_seconds", "evaluation_seconds"}
    assert all(seconds > 0 for seconds in values.values())
    assert note == f"{int((run.data.train.lengths - 1).clamp(min=0, max=20).sum())} positions"
    task = task_of(run)
    method = run.build()
    assert len(trained(run, method, task, 3).history) == 3
    ranks = rank(Scorer.of(method, task.n_items, 20), run.data.train, run.data.validation.items, task.n_items)
    assert ranks.max() <= run.data.n_items


def test_every_training_position_is_a_row_for_recbole(data, tmp_path):
    recbole.write_atomic(data, 5, tmp_path, "shop")
    train, held_out = (
        (tmp_path / "shop" / f"shop.{part}.inter").read_text().splitlines() for part in ("train", "valid")
    )
    assert len(train) - 1 == (data.train.lengths - 1).sum()
    user = int(data.train.lengths.argmax())
    items = data.train[user].tolist()
    assert train[0].split("\t") == ["user_id:token", "item_id_list:token_seq", "item_id:token"]
    assert f"{user}\t{' '.join(map(str, items[2:7]))}\t{items[7]}" in train
    asked = data.validation.items[data.validation.users == user][0]
    assert f"{user}\t{' '.join(map(str, items[-5:]))}\t{asked}" in held_out
    assert len((tmp_path / "shop-users" / "shop-users.train.inter").read_text().splitlines()) == 1 + data.n_users
    assert len((tmp_path / "shop" / "shop.item").read_text().splitlines()) == 1 + data.n_items


@pytest.mark.parametrize("block", [7, 60])
def test_the_matrix_finds_the_neighbours_that_we_find(block):
    vectors = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    assert np.array_equal(in_blocks(vectors, 5, block), similar_users(vectors, 5, "cosine", 60).users)


def test_ratios_are_those_within_a_repeat_and_other_comparisons_are_kept(tmp_path):
    def measured(name, *seconds):
        sides = tuple(Side(system, (), {}) for system in ("ours", "theirs", "absent"))
        ours, theirs = ([Sample({"seconds": value}) for value in values] for values in seconds)
        found = {"ours": ours, "theirs": theirs, "absent": [Sample({}, "not run")] * len(ours)}
        return rows("tiny", Comparison(name, "all", sides), found)

    about = {"one": "The first.", "two": "The second."}
    write(measured("one", [1, 2, 4], [10, 4, 20]), tmp_path, about, "Somewhere.")
    write(measured("two", [1], [3]), tmp_path, about, "Somewhere.")
    kept = {(row.comparison, row.system): row for row in read(tmp_path / "benchmarks.csv")}
    one = kept["one", "theirs"]
    assert (one.value, one.low, one.high) == (10, 4, 20)
    assert (one.times_ours, one.times_low, one.times_high) == (5, 2, 10)
    assert kept["two", "theirs"].times_ours == 3
    assert kept["one", "ours"].times_ours is None
    text = (tmp_path / "table.md").read_text()
    assert "| all | theirs | 10 (4–20); **5 ×** (2–10) |  |" in text
    assert "| all | absent | – | not run |" in text
    assert text.index("## one") < text.index("## two")


@pytest.mark.slow
def test_a_comparison_is_written_as_soon_as_it_is_measured(root, monkeypatch):
    said = """import json; print(json.dumps({"values": {"seconds": 2.0}}))"""
    good, bad = (Side("ours", (sys.executable, "-c", code), {}) for code in (said, "raise SystemExit(1)"))
    both = {"floor": lambda _: [Comparison("floor", "all", (good,))]}
    both["serving"] = lambda _: [Comparison("serving", "all", (bad,))]
    monkeypatch.setattr(main, "COMPARISONS", both)
    monkeypatch.setattr(
        sys, "argv", ["benchmarks", "--params", str(ROOT / "notebooks" / "tiny" / "params.yaml"), "--repeats", "1"]
    )
    with pytest.raises(SystemExit):
        main.main()
    assert {row.comparison for row in read(results("tiny", "benchmarks") / "benchmarks.csv")} == {"floor"}


def test_a_side_that_fails_is_told_with_its_last_words(tmp_path):
    failing = Side("theirs", (sys.executable, "-c", "raise SystemExit('out of paper')"), {})
    with pytest.raises(InputError, match=r"'theirs' failed \(1\)[\s\S]*out of paper"):
        measure(failing, tmp_path)


def test_a_crowd_is_the_histories_over_and_over():
    histories = pl.DataFrame({"user_id": ["a", "a", "b"], "item_id": ["x", "y", "z"]})
    found = crowd(histories, 5).group_by("user_id", maintain_order=True).agg("item_id")
    assert found["item_id"].to_list() == [["x", "y"], ["z"], ["x", "y"], ["z"], ["x", "y"]]
    assert found["user_id"].n_unique() == 5
