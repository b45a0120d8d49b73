"""The benchmarks measure like with like: the plain reference is our LLM-ESR, and tables say what was measured."""

import sys

import numpy as np
import polars as pl
import pytest
import torch
from conftest import ALONE
from llmesr.errors import InputError
from llmesr.models.ragged import Ragged
from llmesr.paths import ROOT, results
from llmesr.retrieve import similar_users
from llmesr.train import loop, with_loss
from llmesr.train.loop import Task
from llmesr.train.losses import RankingLoss
from llmesr.train.negatives import NegativeSampler

from benchmarks import __main__ as main
from benchmarks import recbole
from benchmarks.given import changed
from benchmarks.reference import like, renamed
from benchmarks.retrieval import in_blocks
from benchmarks.serving import crowd
from benchmarks.table import read, rows, write
from benchmarks.timing import Comparison, Sample, Side, measure


@pytest.fixture
def pair(build, tiny):
    """Our model and the reference, of equal weights, without dropout; teachers are encoded in every step.

    In float64, since layer norm blows up rounding where a row hardly varies.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)

    def make(**changes):
        keys = {f"methods.llmesr.{name}": value for name, value in {"mediator_refresh": "step", **changes}.items()}
        model = build(**{key.replace(".", "__"): value for key, value in keys.items()}).double().eval()
        for bias in (b for name, b in model.named_parameters() if name.endswith("bias")):
            torch.nn.init.normal_(bias, std=0.1)  # at zero, attended padding would have no say
        return model, like(model, changed(tiny, keys)).eval()

    yield make
    torch.set_default_dtype(before)


@pytest.mark.parametrize("attend_padding", [True, False])
def test_the_reference_has_our_states(pair, sequences, attend_padding):
    model, reference = pair(attend_padding=attend_padding)
    users = torch.arange(len(sequences.lengths))
    whole = sequences.take(users, 20)
    rectangle = reference.rectangle(whole)
    found = reference.states(rectangle)[rectangle > 0]
    torch.testing.assert_close(found, model.states(whole, model.item_vectors(whole.items)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("attend_padding", [True, False])
def test_the_reference_has_our_loss_and_gradients(pair, tiny, data, sequences, attend_padding):
    model, reference = pair(attend_padding=attend_padding)
    task = Task(sequences, data.n_items, 20, lambda _: data.validation)
    ranking = RankingLoss(with_loss(tiny.train, "llmesr"), NegativeSampler(sequences, data.n_items))
    users = torch.randperm(len(sequences.lengths), generator=torch.Generator().manual_seed(1))[:13]
    model.start_epoch(loop.overview(model, task, 0, 0, ALONE))
    torch.manual_seed(0)
    ours = loop.step_loss(model, task, ranking, users, ALONE)
    _, targets = reference.task(sequences, users)
    negatives = torch.zeros_like(targets)
    torch.manual_seed(0)
    negatives[targets > 0] = ranking.candidates(users[(targets > 0).nonzero()[:, 0]]).squeeze(1)
    theirs = reference.loss(sequences, users, negatives)
    torch.testing.assert_close(theirs, ours, rtol=1e-6, atol=0)
    ours.backward()
    theirs.backward()
    gradients = renamed({name: value.grad for name, value in model.named_parameters()})
    for name, value in reference.named_parameters():
        torch.testing.assert_close(
            value.grad, gradients[name], rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
    assert theirs > 0.5
    assert reference.mediators(sequences, users).abs().sum() > 0


def test_a_user_with_one_item_is_only_taught(pair):
    _, reference = pair()
    inputs, targets = reference.task(Ragged.of([5, 1, 2, 3], [1, 3]), torch.tensor([0, 1]))
    assert inputs[:, -2:].tolist() == [[0, 5], [1, 2]]
    assert targets[:, -2:].tolist() == [[0, 0], [2, 3]]


def test_the_reference_refuses_what_the_equations_do_not_say(pair):
    with pytest.raises(InputError, match=r"methods\.llmesr"):
        pair(fusion_residual=True)


def test_every_training_position_is_a_row_for_recbole(data, tmp_path):
    recbole.write_atomic(data, 5, tmp_path, "shop")
    train, held_out = (
        (tmp_path / "shop" / f"shop.{part}.inter").read_text().splitlines() for part in ("train", "valid")
    )
    assert len(train) - 1 == (data.train.lengths - 1).sum()
    user = int(data.train.lengths.argmax())
    items = data.train[user]
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


def test_ratios_are_those_within_a_repeat_and_other_rooms_are_kept(tmp_path):
    def measured(room, *seconds):
        sides = tuple(Side(system, (), {}) for system in ("ours", "theirs", "absent"))
        ours, theirs = ([Sample({"seconds": value}) for value in values] for values in seconds)
        found = {"ours": ours, "theirs": theirs, "absent": [Sample({}, "not run")] * len(ours)}
        return rows("tiny", Comparison(room, "all", sides), found)

    about = {"one": "The first.", "two": "The second."}
    write(measured("one", [1, 2, 4], [10, 4, 20]), tmp_path, about, "Somewhere.")
    write(measured("two", [1], [3]), tmp_path, about, "Somewhere.")
    kept = {(row.room, row.system): row for row in read(tmp_path / "benchmarks.csv")}
    one = kept["one", "theirs"]
    assert (one.value, one.low, one.high) == (10, 4, 20)
    assert (one.times_ours, one.times_low, one.times_high) == (5, 2, 10)
    assert kept["two", "theirs"].times_ours == 3
    assert kept["one", "ours"].times_ours is None
    text = (tmp_path / "benchmarks.md").read_text()
    assert "| all | theirs | 10 (4–20); **5 ×** (2–10) |  |" in text
    assert "| all | absent | – | not run |" in text
    assert text.index("## one") < text.index("## two")


def test_a_room_is_written_as_soon_as_it_is_measured(root, monkeypatch):
    said = """import json; print(json.dumps({"values": {"seconds": 2.0}}))"""
    good, bad = (Side("ours", (sys.executable, "-c", code), {}) for code in (said, "raise SystemExit(1)"))
    rooms = {"floor": lambda _: [Comparison("floor", "all", (good,))]}
    rooms["serving"] = lambda _: [Comparison("serving", "all", (bad,))]
    monkeypatch.setattr(main, "ROOMS", rooms)
    monkeypatch.setattr(
        sys, "argv", ["benchmarks", "--params", str(ROOT / "notebooks" / "tiny" / "params.yaml"), "--repeats", "1"]
    )
    with pytest.raises(SystemExit):
        main.main()
    assert {row.room for row in read(results("tiny") / "benchmarks.csv")} == {"floor"}


def test_a_side_that_fails_is_told_with_its_last_words(tmp_path):
    failing = Side("theirs", (sys.executable, "-c", "raise SystemExit('out of paper')"), {})
    with pytest.raises(InputError, match=r"'theirs' failed \(1\)[\s\S]*out of paper"):
        measure(failing, tmp_path)


def test_a_crowd_is_the_histories_over_and_over():
    histories = pl.DataFrame({"user_id": ["a", "a", "b"], "item_id": ["x", "y", "z"]})
    found = crowd(histories, 5).group_by("user_id", maintain_order=True).agg("item_id")
    assert found["item_id"].to_list() == [["x", "y"], ["z"], ["x", "y"], ["z"], ["x", "y"]]
    assert found["user_id"].n_unique() == 5
