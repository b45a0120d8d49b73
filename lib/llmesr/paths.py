"""Where everything lies, from the project root and never from the working directory.

papermill runs a notebook in the caller's folder and nbval in the notebook's, so a relative path would
mean two things.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from polars.exceptions import PolarsError
from safetensors import SafetensorError

from llmesr.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
CANNOT_WRITE = (OSError, SafetensorError, PolarsError)
"""What Python, safetensors and polars raise when the disk is full or read-only."""
TINY_PARAMS = "notebooks/tiny/params.yaml"
"""Settings of the small dataset that every lesson opens with."""


def from_root(path: str | Path) -> Path:
    """Read a path of the settings: relative ones start at the project root."""
    return ROOT / path


def artifact(dataset: str, stage: str) -> Path:
    """Folder of what a stage hands to the next one."""
    return ROOT / "artifacts" / dataset / stage


def run_store(dataset: str) -> Path:
    """Folder of trained runs, each in a folder of its own (`runs/store.py`). DVC does not know it."""
    return ROOT / "runs" / dataset / "trained"


def embedding_cache() -> Path:
    """Folder of the embedding cache, shared by all datasets."""
    return ROOT / "runs" / "embedding-cache"


def results(dataset: str, stage: str = "") -> Path:
    """Folder of what a stage publishes: metrics, tables, figures (kept in git)."""
    return ROOT / "results" / dataset / stage


def shown(path: Path) -> str:
    """Name a file the way a reader finds it: from the project root if it lies inside."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def sha256(path: Path) -> str:
    """Compute a file's SHA-256."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def md5(path: Path) -> str:
    """Compute a file's MD5, by which DVC knows it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` that takes its place only when all went well.

    A kill in the middle of a write therefore never leaves half a file under the real name.

    Raises:
        InputError: the file cannot be written: the disk is full or the folder read-only.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except CANNOT_WRITE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{shown(path)} cannot be written ({reason}): make room on the disk or the folder writable, and run again"
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that takes its place only when all went well.

    Raises:
        InputError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        shutil.rmtree(path, ignore_errors=True)
        temporary.replace(path)
    except CANNOT_WRITE as error:
        raise InputError(f"{shown(path)} cannot be written ({error}): make room on the disk and run again") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
