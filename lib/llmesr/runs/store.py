"""The run store: a folder a run, found by a fingerprint of all that the run depends on.

So adding a seed, a backbone or a variant trains only what is missing, a variant that equals a run of the matrix is that
run, and a changed method leaves the runs of all other methods alone.
"""

import ast
import hashlib
import inspect
import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file

from llmesr.errors import InputError
from llmesr.models.backbones import BACKBONES
from llmesr.models.base import Method
from llmesr.models.build import build
from llmesr.models.inputs import ModelInputs
from llmesr.models.registry import METHODS
from llmesr.paths import run_store, shown
from llmesr.prepare.dataset import Dataset
from llmesr.settings import Settings
from llmesr.train.losses import RankingLoss
from llmesr.train.settings import TrainSettings

PACKAGE = Path(__file__).resolve().parents[1]
NOT_RESULTS = {"workers", "backend", "device"}
"""Keys of `train` that say how, not what, is computed."""
NOT_LEARNING = ("errors.py", "paths.py", "runs/", "settings/", "models/registry.py")
"""Modules that name files, errors and all methods: what a run depends on of them is in its settings."""


@dataclass(frozen=True)
class Run:
    """A run that is asked for, trained or not.

    Attributes:
        settings: under which it is trained.
        backbone: a name under `backbones`.
        method: a name under `methods`.
        seed: of the run.
        data: what it learns from.
        inputs: what its model is built from.
    """

    settings: Settings
    backbone: str
    method: str
    seed: int
    data: Dataset
    inputs: ModelInputs

    @property
    def name(self) -> str:
        """What errors and progress call it."""
        return f"{self.backbone}-{self.method}-{self.seed}"

    @property
    def train_settings(self) -> TrainSettings:
        """`train`, with `own` replaced by what the method's paper does."""
        chosen, method = self.settings.train, METHODS[self.method]
        loss = method.loss if chosen.loss == "own" else chosen.loss
        soft = method.soft_targets if chosen.soft_targets == "own" else chosen.soft_targets
        return chosen.model_copy(update={"loss": loss, "soft_targets": soft if loss == "cross_entropy" else 0.0})

    @property
    def start(self) -> "Run | None":
        """The run whose weights it starts from."""
        name = METHODS[self.method].starts_from
        return name and Run(self.settings, self.backbone, name, self.seed, self.data, self.inputs)

    @cached_property
    def fingerprint(self) -> str:
        """Hash all that the run depends on: its name, its settings, the code that trains it, its data."""
        own = getattr(self.settings.backbones, self.backbone), getattr(self.settings.methods, self.method)
        sections = [self.settings.model, *own]
        parts = [self.name, str(self.settings.data.max_length), *(section.model_dump_json() for section in sections)]
        parts.append(self.train_settings.model_dump_json(exclude=NOT_RESULTS))
        if self.settings.train.redraw_negatives:
            parts.append(str(self.settings.prepare.negatives))
        parts += [code_of(METHODS[self.method], BACKBONES[self.backbone]), _digest_of(self.data, self.inputs)]
        if self.settings.train.adversary != "none":
            labels = [self.data.users.hash_rows(seed=0).to_numpy(), self.data.items["tail"].hash(seed=0).to_numpy()]
            parts += [_digest(labels), str(self.settings.data.sensitive_attribute)]
        if self.start:
            parts.append(self.start.fingerprint)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return run_store(self.data.name) / f"{self.name}-{self.fingerprint[:12]}"

    @property
    def is_trained(self) -> bool:
        """Whether it is in the store.

        Raises:
            InputError: its folder holds another run.
        """
        if not (self.folder / "run.json").exists():
            return False
        self._account()
        return True

    def _account(self) -> dict:
        file = self.folder / "run.json"
        try:
            account = json.loads(file.read_text(encoding="utf-8"))
            known = account["fingerprint"]
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise InputError(f"{shown(file)} is damaged ({error}): delete its folder and run again") from None
        if known != self.fingerprint:
            raise InputError(
                f"{shown(self.folder)} holds a run with the fingerprint {known[:12]}, trained under other settings, "
                "data or code: delete that folder and run again"
            )
        return account

    def build(self) -> Method:
        """Build the model, not trained.

        Raises:
            InputError: sizes do not fit together.
        """
        return build(
            METHODS[self.method],
            getattr(self.settings.methods, self.method),
            BACKBONES[self.backbone],
            getattr(self.settings.backbones, self.backbone),
            self.settings.model,
            self.settings.data.max_length,
            self.inputs,
            self.seed,
        )

    def load(self) -> "TrainedRun":
        """Load it from the store, on the CPU and in evaluation mode.

        Raises:
            InputError: it is missing, damaged, or another run.
        """
        if not (self.folder / "run.json").exists():
            raise InputError(
                f"run {self.name} is not trained ({shown(self.folder)} is missing): run `dvc repro -f train`"
            )
        account, method = self._account(), self.build()
        try:
            method.load_state_dict(load_file(self.folder / "weights.safetensors"))
            history = json.loads((self.folder / "history.json").read_text(encoding="utf-8"))["epochs"]
        except (OSError, SafetensorError, RuntimeError, ValueError, KeyError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            missing = [name for name in ("weights.safetensors", "history.json") if not (self.folder / name).exists()]
            reason = f"{missing[0]} is missing" if missing else reason
            raise InputError(f"{shown(self.folder)} is damaged ({reason}): delete it and run again") from None
        return TrainedRun(method.eval(), account, history)


@dataclass(frozen=True)
class TrainedRun:
    """A trained method and the account of its training.

    Attributes:
        method: on the CPU, in evaluation mode.
        account: `run.json`: names, fingerprint, validation metric, costs.
        history: an entry an epoch.
    """

    method: Method
    account: dict
    history: list[dict[str, float]]


def _digest(arrays: list[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


_digests: dict[tuple[int, int], tuple[Dataset, ModelInputs, str]] = {}


def _digest_of(data: Dataset, inputs: ModelInputs) -> str:
    """Hash the data of a run, once for all runs that share it."""
    key = id(data), id(inputs)
    if key not in _digests:
        train, validation = data.train, data.validation
        arrays = [train.items.numpy(), train.lengths.numpy(), validation.users, validation.items, validation.negatives]
        _digests[key] = data, inputs, _digest([*arrays, *inputs.arrays])  # kept alive, so that ids stay theirs
    return _digests[key][2]


# --- the code that trains a run ---


def code_of(method: type[Method], backbone: type) -> str:
    """Hash the code that trains a method: its file, its backbone's, the training loop, and all that they import.

    What the code does counts, not how it is written: comments, docstrings and layout do not.
    """
    files: set[Path] = set()
    todo = [_file_of(method), _file_of(backbone), Path(inspect.getfile(RankingLoss)).with_name("loop.py")]
    todo.append(Path(__file__).with_name("training.py"))
    while todo:
        file = todo.pop()
        if file not in files:
            files.add(file)
            todo += _imports(file)
    parts = [f"{file.name}\0{_without_comments(file)}" for file in sorted(files)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _file_of(kind: type) -> Path:
    return Path(inspect.getfile(kind)).resolve()


@cache
def _imports(file: Path) -> tuple[Path, ...]:
    """List the files of this package that a file imports, but for those that cannot change what is learned."""
    modules = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                raise InputError(f"{shown(file)}, line {node.lineno}: import from 'llmesr.…', not from '.'")
            modules |= {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
    found = [_file_of_module(name) for name in modules if name.split(".")[0] == "llmesr"]
    return tuple(file for file in found if not file.relative_to(PACKAGE).as_posix().startswith(NOT_LEARNING))


def _file_of_module(name: str) -> Path:
    """Find the file that defines `llmesr.a.b.c`: that module, or the one that has the name c."""
    parts = name.split(".")[1:]
    for end in range(len(parts), 0, -1):
        for file in (PACKAGE.joinpath(*parts[:end]).with_suffix(".py"), PACKAGE.joinpath(*parts[:end], "__init__.py")):
            if file.is_file():
                return file
    return PACKAGE / "__init__.py"


@cache
def _without_comments(file: Path) -> str:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):  # a docstring, or the description of a key, is an expression that is a string
            node.body = [line for line in body if not _is_string(line)]
    return ast.dump(tree)


def _is_string(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)
