"""Shared fixtures: the tiny dataset, prepared in a folder of its own, and quick made-up embeddings."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from llmesr import models, paths, prepare, retrieve
from llmesr.embed import Embeddings
from llmesr.embed.reduce import reduce
from llmesr.models.contract import Overview
from llmesr.models.methods import Method
from llmesr.models.ragged import Ragged
from llmesr.paths import artifact
from llmesr.prepare.dataset import Dataset, Targets
from llmesr.retrieve import Neighbours
from llmesr.settings import Settings, load
from llmesr.train import loop
from llmesr.train.loop import Task
from llmesr.train.team import Team
from safetensors.numpy import save_file

ROOT = paths.ROOT
ALONE = Team(torch.device("cpu"))
torch.set_num_threads(1)  # the tensors here are tiny: more threads only wait for each other


def changed(settings: Settings, **changes: Any) -> Settings:
    """Copy settings with some keys changed; `train__epochs=3` means `train.epochs`."""
    raw = settings.model_dump(by_alias=True)
    for path, value in changes.items():
        *parents, key = path.split("__")
        node = raw
        for parent in parents:
            node = node[parent]
        node[key] = value
    return Settings.model_validate(raw)


def ragged(*rows: list[int]) -> Ragged:
    """Make sequences from lists of items."""
    return Ragged.of(np.concatenate(rows), [len(row) for row in rows])


def states_of(model: Method, sequences: Ragged) -> torch.Tensor:
    """Encode sequences of N items with a method's own vectors: (N, W)."""
    return model.states(sequences, model.item_vectors(sequences.items))


def overview(model: Method, sequences: Ragged, epoch: int = 0) -> Overview:
    """Give a method its look at sequences of the tiny dataset's items."""
    few = np.arange(min(3, len(sequences.lengths)))
    held_out = Targets(few, few + 1, np.zeros((len(few), 1), np.int32))
    return loop.overview(model, Task(sequences, 48, 20, lambda _: held_out), 0, epoch, ALONE)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Tell whether two models have the same weights, bit for bit."""
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.fixture
def killed_in_the_third_epoch(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Iterator[int]]:
    """Let the next run be killed when it validates the third time, with a checkpoint of each epoch before.

    Called, it gives the count of validations from then on, the third included.
    """

    def begin() -> Iterator[int]:
        monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1)
        real, calls = loop.validate, itertools.count(1)

        def killed(*args: Any) -> dict[str, float]:
            if next(calls) == 3:
                raise KeyboardInterrupt
            return real(*args)

        monkeypatch.setattr(loop, "validate", killed)
        return calls

    return begin


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let everything be written below a temporary root."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def tiny() -> Settings:
    """Settings of the tiny dataset, fast enough for tests, independent of the root."""
    settings = load(paths.TINY_PARAMS)
    return changed(settings, data__root=str(ROOT / "notebooks"), train__epochs=4, train__device="cpu")


@pytest.fixture
def data(root: Path, tiny: Settings) -> Dataset:
    """The tiny dataset, prepared."""
    return prepare.run(tiny)


@pytest.fixture
def embeddings(data: Dataset, tiny: Settings) -> Embeddings:
    """Random embeddings of a width of 24, in which no language model had a part."""
    rng = np.random.default_rng(0)
    items = rng.normal(size=(data.n_items, 24)).astype(np.float32)
    users = rng.normal(size=(data.n_users, 24)).astype(np.float32)
    pad = ((1, 0), (0, 0))
    return Embeddings(np.pad(items, pad), np.pad(reduce(items, tiny.model.hidden), pad), users)


@pytest.fixture
def similar(embeddings: Embeddings) -> Neighbours:
    """Five similar users each."""
    return retrieve.similar_users(embeddings.users, 5, "cosine", 50_000)


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a dataset in the table format and return its folder."""

    def write(interactions: str, items: str = "item_id,title\na,Apple\nb,Banana\nc,Cherry\n") -> Path:
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        (folder / "interactions.csv").write_text(interactions)
        (folder / "items.csv").write_text(items)
        return folder

    return write


@pytest.fixture
def build(tiny: Settings, embeddings: Embeddings, similar: Neighbours) -> Callable[..., Method]:
    """Build a method on a backbone, of the tiny dataset's sizes, with some settings changed."""

    def make(backbone: str = "sasrec", method: str = "llmesr", seed: int = 0, **changes: Any) -> Method:
        return models.build(changed(tiny, **changes), backbone, method, seed, embeddings, similar)

    return make


@pytest.fixture
def shell(root: Path, data: Dataset, embeddings: Embeddings, similar: Neighbours) -> Callable[..., subprocess.Popen]:
    """Start Python code below the temporary root in a process of its own, with settings as `params.yaml`."""
    for room, file, tables in (("embed", "embeddings", embeddings.tables), ("retrieve", "neighbours", vars(similar))):
        artifact("tiny", room).mkdir(parents=True, exist_ok=True)
        arrays = {name: np.ascontiguousarray(table) for name, table in tables.items()}
        save_file(arrays, artifact("tiny", room) / f"{file}.safetensors")

    def start(settings: Settings, code: str, *launcher: str) -> subprocess.Popen:
        (root / "params.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json", by_alias=True)))
        script = root / "script.py"
        script.write_text(
            f"from pathlib import Path\nfrom llmesr import paths\npaths.ROOT = Path({str(root)!r})\n{code}\n"
        )
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *launcher, str(script)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return start


@pytest.fixture
def sequences(data: Dataset) -> Ragged:
    """Every user's training items."""
    return Ragged.of(data.train.items, data.train.lengths)
