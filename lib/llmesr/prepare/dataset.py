"""The prepared dataset: what stage 01 writes and the later ones read."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from llmesr.errors import InputError
from llmesr.paths import artifact, replacing, shown
from llmesr.sequences import Sequences


@dataclass(frozen=True)
class Targets:
    """One held-out item a user, and what it is ranked against.

    Attributes:
        users: (n,) user rows 0 … U - 1.
        items: (n,) the held-out item.
        negatives: (n, K) items that the user never touched; 0 where there are too few.
    """

    users: np.ndarray
    items: np.ndarray
    negatives: np.ndarray


TEXTS = {"user": pl.Int32, "item": pl.Int32, "text": pl.String}
"""Who wrote what about which item."""


@dataclass(frozen=True)
class Dataset:
    """Training interactions, the validation split and the tables of users and items; never the test split.

    Attributes:
        train: every user's training items in time order, on the CPU.
        texts: `user`, `item`, `text`: what users wrote about training items before the split point, as they wrote it.
    """

    name: str
    train: Sequences
    validation: Targets
    users: pl.DataFrame
    items: pl.DataFrame
    card: dict
    texts: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=TEXTS))

    @property
    def n_users(self) -> int:
        """Number of users U."""
        return self.users.height

    @property
    def n_items(self) -> int:
        """Number of items V; ids are 1..V, 0 is padding."""
        return self.items.height

    @cached_property
    def titles(self) -> list[str]:
        """Title of each item id; 0 is the padding's."""
        return ["", *self.items["title"].fill_null("unknown")]


def sequences(pairs: pl.DataFrame, n_users: int) -> Sequences:
    """Turn (user, item) rows, ordered by user and time, into sequences."""
    return Sequences.of(pairs["item"].to_numpy(), np.bincount(pairs["user"].to_numpy(), minlength=n_users))


def targets(frame: pl.DataFrame) -> Targets:
    """Turn the frame of a held-out split into arrays."""
    negatives = frame["negatives"].to_numpy() if frame.height else np.zeros((0, 0), np.int32)
    return Targets(frame["user"].to_numpy(), frame["item"].to_numpy(), negatives)


OF_ITEMS = ("item", "item_id", "title", "count", "tail", "group")
"""Columns of items that are no attributes."""
NOT_ATTRIBUTES = ("user", "user_id", "length", "tail", "group")
"""Columns of users that the pipeline made."""


def attribute(data: Dataset, name: str, key: str) -> np.ndarray:
    """Give an attribute of every user as text, (U,); what is not known is empty.

    Args:
        data: of a source that knows something of users.
        name: of the attribute.
        key: of the settings that asks for it, for the error.

    Raises:
        InputError: the users have no such attribute.
    """
    known = [column for column in data.users.columns if column not in NOT_ATTRIBUTES]
    if name not in known:
        raise InputError(f"key '{key}' names '{name}', and users have: {', '.join(known) or 'no attributes'}")
    return data.users[name].cast(pl.String).fill_null("").to_numpy().astype(str)


def save_frame(frame: pl.DataFrame, file: Path) -> None:
    """Write a frame as parquet, whole or not at all."""
    with replacing(file) as temporary:
        frame.write_parquet(temporary)


def save_json(content: dict, file: Path) -> None:
    """Write JSON, whole or not at all."""
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_frame(file: Path, stage: str) -> pl.DataFrame:
    """Read a parquet file that `stage` wrote.

    Raises:
        InputError: it is not there or is damaged.
    """
    if not file.exists():
        raise InputError(f"{shown(file)} is missing: run `dvc repro {stage}` first")
    try:
        return pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError):
        raise InputError(f"{shown(file)} is damaged: delete it and run `dvc repro {stage}`") from None


def read_json(file: Path, stage: str) -> dict:
    """Read a JSON file that `stage` wrote.

    Raises:
        InputError: it is not there or is damaged.
    """
    if not file.exists():
        raise InputError(f"{shown(file)} is missing: run `dvc repro {stage}` first")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError):  # half of it, or no text
        raise InputError(f"{shown(file)} is damaged: delete it and run `dvc repro {stage}`") from None


def load(name: str) -> Dataset:
    """Load what stage 01 wrote for the dataset `name`.

    Raises:
        InputError: a file is missing or damaged.
    """
    folder = artifact(name, "prepare")
    frames = {
        part: read_frame(folder / f"{part}.parquet", "prepare")
        for part in ("train", "validation", "users", "items", "texts")
    }
    return Dataset(
        name,
        sequences(frames["train"], frames["users"].height),
        targets(frames["validation"]),
        frames["users"],
        frames["items"],
        read_json(folder / "card.json", "prepare"),
        frames["texts"],
    )
