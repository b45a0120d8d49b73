"""The run store: a run is known by a fingerprint of all that it depends on, and of nothing else."""

import inspect
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from llmesr.errors import InputError
from llmesr.models.inputs import ItemView
from llmesr.prepare.dataset import Targets
from llmesr.runs import store
from llmesr.runs.store import Run
from llmesr.runs.training import train
from llmesr.sequences import Sequences

# --- settings ---


def test_the_same_run_has_the_same_fingerprint(run_of, tiny, data, inputs):
    assert run_of().fingerprint == run_of().fingerprint
    copies = replace(data, train=Sequences(data.train.items.clone(), data.train.lengths.clone())), replace(inputs)
    assert Run(tiny, "sasrec", "llmesr", 42, *copies).fingerprint == run_of().fingerprint


MATTERS = {
    "model.hidden": 16,
    "model.dropout": 0.1,
    "data.max_length": 10,
    "backbones.sasrec.heads": 2,
    "methods.llmesr.alpha": 0.3,
    "train.epochs": 5,
    "train.patience": 3,
    "train.batch_size": 8,
    "train.learning_rate": 0.1,
    "train.loss": "gbce",
    "train.negatives": 2,
    "train.precision": "bfloat16",
    "train.threads": 2,
    "train.redraw_negatives": True,
    "train.stop_by": "full",
    "train.soft_temperature": 0.1,
    "train.adversary": "popularity",
}
SAYS_NOTHING = {
    "train.workers": 1,
    "train.backend": "dask",
    "train.device": "auto",
    "methods.melt.quantile": 0.7,
    "methods.dualmatch.neighbours": 3,
    "backbones.gru4rec.layers": 2,
    "matrix.seeds": [1],
    "evaluate.top_k": [10],
    "recommend.k": 3,
    "prepare.negatives": 7,
    "data.category": None,
    "embed.history_items": 3,
}


@pytest.mark.parametrize("key", MATTERS)
def test_what_changes_the_result_changes_the_fingerprint(run_of, key):
    assert run_of(changes={key: MATTERS[key]}).fingerprint != run_of().fingerprint


@pytest.mark.parametrize("key", SAYS_NOTHING)
def test_what_does_not_change_the_result_leaves_it(run_of, key):
    assert run_of(changes={key: SAYS_NOTHING[key]}).fingerprint == run_of().fingerprint


def test_seed_backbone_and_method_change_it(run_of):
    runs = [run_of(), run_of(seed=43), run_of("gru4rec"), run_of(method="base"), run_of(method="llminit")]
    assert len({run.fingerprint for run in runs}) == len({run.folder for run in runs}) == 5


def test_redrawn_negatives_depend_on_their_number(run_of):
    redrawn, fewer = (
        run_of(changes={"train.redraw_negatives": True, **more}) for more in ({}, {"prepare.negatives": 7})
    )
    assert redrawn.fingerprint != fewer.fingerprint


def test_what_a_method_starts_from_changes_it(run_of):
    assert run_of(method="melt").start.fingerprint == run_of(method="base").fingerprint
    assert run_of(method="base").start is None
    more = {"train.epochs": 5}
    assert run_of(method="cities", changes=more).fingerprint != run_of(method="cities").fingerprint


def test_own_and_the_name_of_the_loss_are_one_run(run_of):
    assert run_of(changes={"train.loss": "bce"}).fingerprint == run_of().fingerprint
    assert (
        run_of(method="dualmatch", changes={"train.loss": "bce"}).fingerprint != run_of(method="dualmatch").fingerprint
    )


# --- data ---


def test_data_and_inputs_change_it(run_of, tiny, data, inputs):
    items, lengths, validation = data.train.items.clone(), data.train.lengths, data.validation
    items[0] = items[0] % 48 + 1
    view = ItemView.of(np.array([1]), np.ones((1, 2)), 48)
    others = [
        (replace(data, train=Sequences(items, lengths)), inputs),
        (replace(data, validation=Targets(validation.users, validation.items, validation.negatives[:, ::-1])), inputs),
        (data, replace(inputs, neighbours=inputs.neighbours[:, ::-1].copy())),
        (data, replace(inputs, item_embeddings=inputs.item_embeddings * 2)),
        (data, replace(inputs, views={"image": view})),
    ]
    found = {Run(tiny, "sasrec", "llmesr", 42, *other).fingerprint for other in others}
    assert len(found - {run_of().fingerprint}) == 5


@pytest.mark.parametrize("part", ["item_embeddings", "item_pca", "user_embeddings", "neighbours"])
def test_every_table_of_the_inputs_changes_it(run_of, part):
    run = run_of()
    table = getattr(run.inputs, part).copy()
    table[-1, -1] += 1
    assert replace(run, inputs=replace(run.inputs, **{part: table})).fingerprint != run.fingerprint


def test_every_part_of_the_data_changes_it(run_of, data):
    asked, lengths = data.validation, data.train.lengths.clone()
    lengths[:2] += torch.tensor([1, -1])
    others = [
        replace(data, train=Sequences(data.train.items, lengths)),
        replace(data, validation=replace(asked, users=asked.users[::-1])),
        replace(data, validation=replace(asked, items=asked.items[::-1])),
    ]
    found = {replace(run_of(), data=other).fingerprint for other in others}
    assert len(found - {run_of().fingerprint}) == 3


def test_what_a_view_says_and_of_which_items_changes_it(run_of):
    run, present = run_of(), np.arange(49) > 0
    views = [(np.ones((49, 2)), present), (np.full((49, 2), 2.0), present), (np.ones((49, 2)), np.arange(49) > 1)]
    inputs = [replace(run.inputs, views={"image": ItemView(*view)}) for view in views]
    assert len({replace(run, inputs=each).fingerprint for each in inputs}) == 3


def test_users_attributes_matter_to_an_adversary_alone(run_of, data):
    other = replace(data, users=data.users.with_columns(club_member=pl.lit("yes")))
    for changes, same in (({}, True), ({"train.adversary": "club_member"}, False)):
        run = run_of(changes=changes)
        changed = Run(run.settings, run.backbone, run.method, run.seed, other, run.inputs)
        assert (changed.fingerprint == run.fingerprint) == same


def test_the_attribute_that_is_called_sensitive_matters_to_an_adversary_alone(run_of, data):
    known = replace(data, users=data.users.with_columns(town=pl.lit("here")))
    for adversary, same in (("none", True), ("sensitive_attribute", False)):
        runs = [
            replace(run_of(changes={"train.adversary": adversary, "data.sensitive_attribute": name}), data=known)
            for name in ("club_member", "town")
        ]
        assert (runs[0].fingerprint == runs[1].fingerprint) == same


def test_which_items_are_of_the_tail_matters_to_an_adversary_of_popularity_alone(run_of, data):
    """They are what it guesses, and `tail_item_below` of the dataset says which they are."""
    other = replace(data, items=data.items.with_columns(tail=pl.col("tail").reverse()))
    assert other.items["tail"].to_list() != data.items["tail"].to_list()
    for changes, same in (({}, True), ({"train.adversary": "popularity"}, False)):
        run = run_of(changes=changes)
        assert (replace(run, data=other).fingerprint == run.fingerprint) == same


# --- code ---


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A copy of the package that the store takes for it; called, it edits a file there."""
    package = tmp_path / "copy" / "llmesr"
    original = store.PACKAGE
    shutil.copytree(original, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(store, "PACKAGE", package)
    there = lambda kind: package / Path(inspect.getfile(kind)).resolve().relative_to(original)  # noqa: E731
    monkeypatch.setattr(store, "_file_of", there)

    def forget():
        store._imports.cache_clear()
        store._without_comments.cache_clear()

    def edit(file, before, after):
        path = package / file
        text = path.read_text(encoding="utf-8")
        assert before in text
        path.write_text(text.replace(before, after), encoding="utf-8")
        forget()

    forget()
    yield edit
    forget()


SOME = ("base", "melt", "rlmrec_gen", "llmesr", "dualmatch")


def fingerprints(run_of):
    return {(b, m): run_of(b, m).fingerprint for b in ("sasrec", "gru4rec") for m in SOME}


def changed(before, after):
    return {pair for pair in before if before[pair] != after[pair]}


def test_code_in_a_methods_file_changes_its_own_runs_alone(run_of, code):
    before = fingerprints(run_of)
    code("models/methods/llmesr.py", "self.settings.alpha * F.mse_loss", "2 * self.settings.alpha * F.mse_loss")
    assert changed(before, fingerprints(run_of)) == {("sasrec", "llmesr"), ("gru4rec", "llmesr")}


def test_code_of_the_base_changes_what_starts_from_it(run_of, code):
    before = fingerprints(run_of)
    code("models/methods/backbone_only.py", "inputs.hidden)", "inputs.hidden + 0)")
    found = {method for _, method in changed(before, fingerprints(run_of))}
    assert found == {"base", "melt"}


def test_code_in_a_backbones_file_changes_its_own_runs_alone(run_of, code):
    before = fingerprints(run_of)
    code("models/backbones/gru4rec.py", "STEPS = 8", "STEPS = 9")
    assert changed(before, fingerprints(run_of)) == {("gru4rec", method) for method in SOME}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("train/losses.py", "return summed(weights, *rows) / n", "return summed(weights, *rows) / (n + 0)"),
        ("sequences.py", "SHORT = 4", "SHORT = 5"),
        ("models/inputs.py", "nn.init.zeros_(table.weight[0])", "nn.init.ones_(table.weight[0])"),
    ],
)
def test_code_that_all_share_changes_all(run_of, code, file, before, after):
    former = fingerprints(run_of)
    code(file, before, after)
    assert changed(former, fingerprints(run_of)) == set(former)


def test_code_that_trains_a_run_changes_all(run_of, code, monkeypatch):
    monkeypatch.setattr(store, "__file__", str(store.PACKAGE / "runs" / "store.py"))
    former = fingerprints(run_of)
    code("runs/training.py", "np.random.default_rng([run.seed, epoch])", "np.random.default_rng([epoch, run.seed])")
    assert changed(former, fingerprints(run_of)) == set(former)


def test_comments_docstrings_and_layout_change_nothing(run_of, code):
    before = fingerprints(run_of)
    code("models/methods/llmesr.py", '"""LLM-ESR (Liu', '"""By the way: LLM-ESR (Liu')
    code("models/methods/llmesr.py", '"""Weight of the self-distillation', '"""The weight of the self-distillation')
    code("models/methods/llmesr.py", "    def item_vectors", "    # a comment\n\n    def item_vectors")
    code("train/loop.py", "return there.nonzero().squeeze(1), (", "return (there.nonzero().squeeze(1)), (")
    assert not changed(before, fingerprints(run_of))


@pytest.mark.slow
def test_code_that_trains_nothing_changes_nothing(run_of, code):
    before = fingerprints(run_of)
    code("settings/schema.py", "strict=False", "strict=True")
    code("runs/pool.py", "LOG_LINES = 5", "LOG_LINES = 6")
    code("paths.py", 'return ROOT / "runs"', 'return ROOT / "trained"')
    code("models/registry.py", "    MELT,\n", "")
    assert not changed(before, fingerprints(run_of))


# --- loading ---


@pytest.fixture
def trained(run_of):
    run = run_of(method="base", changes={"train.epochs": 1})
    train(run)
    return run


def test_a_run_that_is_not_trained_is_named(run_of):
    assert not run_of().is_trained
    with pytest.raises(InputError, match=r"run sasrec-llmesr-42 is not trained \(runs/tiny/trained/sasrec-llmesr-42-"):
        run_of().load()


def test_its_folder_carries_name_and_fingerprint(trained):
    assert trained.is_trained
    assert trained.folder.name == f"sasrec-base-42-{trained.fingerprint[:12]}"
    assert trained.load().account["fingerprint"] == trained.fingerprint


def test_a_foreign_fingerprint_is_named(trained):
    file = trained.folder / "run.json"
    file.write_text(file.read_text().replace(trained.fingerprint, "0123456789abcdef"))
    for ask in (lambda: trained.is_trained, trained.load, lambda: train(trained)):
        with pytest.raises(InputError, match=r"holds a run with the fingerprint 0123456789ab, trained under other"):
            ask()


@pytest.mark.parametrize("content", [b"", b"{half", b"[1]", b"{}", b"\xff\xfe"])
def test_a_damaged_account_is_named(trained, content):
    (trained.folder / "run.json").write_bytes(content)
    for ask in (lambda: trained.is_trained, trained.load):
        with pytest.raises(InputError, match=r"run.json is damaged \(.+\): delete its folder and run again"):
            ask()


@pytest.mark.parametrize("file", ["weights.safetensors", "history.json"])
def test_damaged_or_missing_weights_and_history_are_named(trained, file):
    path = trained.folder / file
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"sasrec-base-42-\w+ is damaged \(.+\): delete it and run again"):
            trained.load()
    path.unlink()
    with pytest.raises(
        InputError, match=rf"sasrec-base-42-\w+ is damaged \({file} is missing\): delete it and run again"
    ):
        trained.load()


def test_weights_of_another_shape_are_named(trained, run_of):
    other = run_of(changes={"train.epochs": 1})
    train(other)
    shutil.copy(other.folder / "weights.safetensors", trained.folder)
    with pytest.raises(InputError, match=r"sasrec-base-42-\w+ is damaged \(.+\): delete it and run again"):
        trained.load()


def test_a_folder_that_cannot_be_written_is_named(run_of):
    run = run_of(method="base", changes={"train.epochs": 1})
    run.folder.parent.mkdir(parents=True)
    run.folder.write_text("a file where the folder should be")
    with pytest.raises(InputError, match=r"cannot be written \(.+\): make room on the disk or the folder writable"):
        train(run)


def test_imports_are_followed_in_any_form_and_relative_ones_are_refused(tmp_path):
    file = tmp_path / "method.py"
    file.write_text("import llmesr.models.whitening as w\nfrom llmesr import errors, sequences\nimport torch\n")
    assert {path.name for path in store._imports(file)} >= {"whitening.py", "sequences.py"}
    other = tmp_path / "other.py"
    other.write_text("from .base import Method\n")
    with pytest.raises(InputError, match=r"other.py, line 1: import from 'llmesr.…', not from '.'"):
        store._imports(other)
