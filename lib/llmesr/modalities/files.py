"""Views from a file an item: which files there are, and a vector for each."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from llmesr.embed import View
from llmesr.errors import InputError
from llmesr.paths import ROOT, shown
from llmesr.prepare.dataset import Dataset

BATCH = 16


def of_items(folder: Path, endings: tuple[str, ...], data: Dataset) -> dict[int, Path]:
    """Find the file `<item_id><ending>` of each item that has one.

    Raises:
        InputError: the folder is missing or holds no file of an item.
    """
    if not folder.is_dir():
        raise InputError(f"{shown(folder)} is missing: put a file an item there, called by its id")
    ids = zip(data.items["item"], data.items["item_id"], strict=True)
    found = {
        item: file for item, name in ids for ending in endings[::-1] if (file := folder / f"{name}{ending}").exists()
    }
    if not found:
        raise InputError(f"{shown(folder)} holds no file of an item, such as {data.items['item_id'][0]}{endings[0]}")
    return found


def encoded(files: dict[int, Path], encode: Callable[[list[Path]], np.ndarray], data: Dataset) -> View:
    """Encode the files of items in batches: (V + 1, L)."""
    items, vectors = list(files), []
    for start in tqdm(range(0, len(items), BATCH), desc="encode", unit="batch"):
        vectors.append(encode([files[item] for item in items[start : start + BATCH]]))
    stacked = np.concatenate(vectors).astype(np.float32)
    found = np.zeros((data.n_items + 1, stacked.shape[1]), np.float32)
    present = np.zeros(data.n_items + 1, bool)
    found[items], present[items] = stacked, True
    return View(found, present)


def source(model: str) -> str:
    """Name a model as `transformers` finds it: a folder below the root if there is one, else a model id."""
    folder = ROOT / model
    return str(folder) if folder.is_dir() else model
