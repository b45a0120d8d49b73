"""Shared fixtures: the tiny dataset, prepared in a folder of its own, and random embeddings instead of an LLM's."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported: no test waits for the network

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from helpers import ROOT, D, T, V
from llmesr import paths, prepare, retrieve
from llmesr import tiny as tiny_pipeline
from llmesr.embed import Embeddings
from llmesr.embed.reduce import reduce
from llmesr.models.base import Method
from llmesr.models.inputs import ModelInputs
from llmesr.paths import artifact
from llmesr.prepare.dataset import Dataset
from llmesr.retrieve import Neighbours
from llmesr.runs.inputs import model_inputs
from llmesr.runs.store import Run
from llmesr.sequences import Sequences
from llmesr.settings import Settings, load
from safetensors.numpy import save_file

sys.modules["rfc3987_syntax"] = None  # a grammar that nbformat's schema checker builds if it is there: 3 s a process
torch.set_num_threads(1)  # the tensors here are tiny: more threads only wait for each other


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "slow: starts processes, reads a language model, or takes a second")


@pytest.fixture
def float64() -> Iterator[None]:
    """Compute in float64, in which rounding hides nothing."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let everything be written below a temporary root."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def tiny() -> Settings:
    """Settings of the tiny dataset, fast enough for tests, independent of the root."""
    fast = {"data.folder": str(ROOT / "notebooks" / "tiny"), "train.epochs": 4, "train.device": "cpu"}
    return load(ROOT / paths.TINY_PARAMS, {**fast, "train.workers": 2, "experiments.skip": []})


@pytest.fixture(scope="session")
def prepared(tiny: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    """The tiny dataset, prepared once, and the folder of its files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", tmp_path_factory.mktemp("prepared"))
        return prepare.run(tiny), artifact("tiny", "prepare")


@pytest.fixture
def data(root: Path, prepared: tuple[Dataset, Path]) -> Dataset:
    """The tiny dataset; its files lie below the temporary root."""
    shutil.copytree(prepared[1], artifact("tiny", "prepare"))
    return prepared[0]


@pytest.fixture
def uneven(root: Path, tiny: Settings) -> tuple[Settings, Dataset]:
    """Settings and a dataset of the tiny items, whose users differ more than the tiny ones do.

    Some have had far more than T items, one nearly all there are; some, the first among them, are too short for a test
    item; of every second long one the test item is its first item once more.
    """
    rng, folder, rows = np.random.default_rng(0), root / "uneven", []
    sizes = {"a-short": 2, "b-nearly-all": 46, "m-short": 1}
    sizes |= {f"long-{i}": 25 + i for i in range(8)} | {f"some-{i:02}": 4 + i % 5 for i in range(20)}
    for user, size in sizes.items():
        items = rng.permutation([f"p{item:02}" for item in range(1, V + 1)])[:size].tolist()
        again = items[:1] if user.startswith("long") and size % 2 else []
        rows += [(user, item, time) for time, item in enumerate([*items, *again], start=int(rng.integers(20)))]
    folder.mkdir()
    interactions = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    interactions.write_csv(folder / "interactions.csv")
    shutil.copy(tiny.folder / "items.csv", folder)
    own = {"folder": str(folder), "min_user": 1, "short_users": "train_only", "category": "category", "max_length": T}
    settings = tiny.changed({"dataset": "uneven", "datasets": {"uneven": own}})
    return settings, prepare.run(settings)


@pytest.fixture
def sequences(prepared: tuple[Dataset, Path]) -> Sequences:
    """Every user's training items."""
    return prepared[0].train


@pytest.fixture(scope="session")
def embeddings(prepared: tuple[Dataset, Path]) -> Embeddings:
    """Random embeddings of a width of 24, in which no language model had a part."""
    rng, data, pad = np.random.default_rng(0), prepared[0], ((1, 0), (0, 0))
    items = rng.normal(size=(data.n_items, 24)).astype(np.float32)
    users = rng.normal(size=(data.n_users, 24)).astype(np.float32)
    return Embeddings(np.pad(items, pad), np.pad(reduce(items, D), pad), users)


@pytest.fixture(scope="session")
def neighbours(embeddings: Embeddings) -> Neighbours:
    """Five similar users each."""
    return retrieve.similar_users(embeddings.users, 5, "cosine", 50_000)


@pytest.fixture(scope="session")
def inputs(embeddings: Embeddings, neighbours: Neighbours) -> ModelInputs:
    """What models are built from."""
    return model_inputs(embeddings, neighbours)


@pytest.fixture
def run_of(tiny: Settings, data: Dataset, inputs: ModelInputs) -> Callable[..., Run]:
    """Name a run on the tiny dataset, with some settings changed."""

    def name(
        backbone: str = "sasrec", method: str = "llmesr", changes: dict[str, Any] | None = None, seed: int = 42
    ) -> Run:
        return Run(tiny.changed(changes or {}), backbone, method, seed, data, inputs)

    return name


@pytest.fixture
def build(run_of: Callable[..., Run]) -> Callable[..., Method]:
    """Build a method on a backbone, of the tiny dataset's sizes, with some settings changed."""

    def make(
        backbone: str = "sasrec", method: str = "llmesr", changes: dict[str, Any] | None = None, seed: int = 0
    ) -> Method:
        return run_of(backbone, method, changes, seed).build()

    return make


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
def artifacts(root: Path, data: Dataset, embeddings: Embeddings, neighbours: Neighbours) -> Path:
    """Write what stages 01 to 03 hand on below the temporary root."""
    for stage, file, tables in (("embed", "embeddings", embeddings), ("retrieve", "neighbours", neighbours)):
        artifact("tiny", stage).mkdir(parents=True)
        arrays = {name: np.ascontiguousarray(array) for name, array in vars(tables).items()}
        save_file(arrays, artifact("tiny", stage) / f"{file}.safetensors")
    return root / "artifacts" / "tiny"


@pytest.fixture
def shell(root: Path, artifacts: Path) -> Callable[..., subprocess.Popen]:
    """Start Python code below the temporary root in a process of its own, with settings as `params.yaml`.

    A folder `modules` below the root is on the path of Python.
    """

    def start(settings: Settings, code: str, *launcher: str) -> subprocess.Popen:
        (root / "params.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
        tiny_pipeline.note(settings)  # the artifacts are those of these settings
        script = root / "script.py"
        script.write_text(
            f"from pathlib import Path\nfrom llmesr import paths\npaths.ROOT = Path({str(root)!r})\n{code}\n"
        )
        path = os.pathsep.join([str(root / "modules"), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        command = [sys.executable, *launcher, str(script)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return start
