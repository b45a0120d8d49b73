"""Checkpoints: a killed run goes on where it was, and only if it is the same run."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmesr.errors import InputError
from llmesr.paths import replacing, shown


def fingerprint(*parts: str | np.ndarray) -> str:
    """Hash what a run depends on, so that a checkpoint of other settings or data is not resumed."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def save(file: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    with replacing(file) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # so torch says that the disk is full
            raise OSError(str(error)) from None


def load(file: Path, run: str) -> dict[str, Any] | None:
    """Read the checkpoint of the run with this fingerprint; None if there is none, or it is another run's.

    Raises:
        InputError: the file is damaged.
    """
    if not file.exists():
        return None
    try:
        state = torch.load(file, weights_only=True, map_location="cpu")
        return state if state["fingerprint"] == run else None
    except (RuntimeError, OSError, ValueError, EOFError, pickle.UnpicklingError, KeyError, TypeError):
        raise InputError(f"{shown(file)} is damaged: delete it to start the run anew") from None
