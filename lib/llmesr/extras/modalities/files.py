"""Views from a file an item: which files there are, and a vector for each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm
from transformers import PreTrainedModel

from llmesr.errors import InputError
from llmesr.models.inputs import ItemView
from llmesr.paths import from_root, shown
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
    files = {
        item: file for item, name in ids for ending in endings[::-1] if (file := folder / f"{name}{ending}").exists()
    }
    if not files:
        raise InputError(f"{shown(folder)} holds no file of an item, such as {data.items['item_id'][0]}{endings[0]}")
    return files


def encoded(files: dict[int, Path], encode: Callable[[list[Path]], np.ndarray], data: Dataset) -> ItemView:
    """Encode the files of items in batches: (V + 1, L)."""
    items, vectors = list(files), []
    for start in tqdm(range(0, len(items), BATCH), desc="encode", unit="batch"):
        vectors.append(encode([files[item] for item in items[start : start + BATCH]]))
    return ItemView.of(np.array(items), np.concatenate(vectors), data.n_items)


def load(model: str, reader: type, architecture: type[PreTrainedModel], called: str) -> tuple[Any, PreTrainedModel]:
    """Load what turns a file into numbers, and the model that reads these.

    Args:
        model: a folder below the root if there is one, else a model id.
        reader: the processor or feature extractor.
        architecture: the model's.
        called: what the architecture is called, for the error.

    Raises:
        InputError: one of them cannot be loaded, or the weights are another architecture's.
    """
    folder = from_root(model)
    source = str(folder) if folder.is_dir() else model
    try:
        network, about = architecture.from_pretrained(source, output_loading_info=True)
        processor = reader.from_pretrained(source)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"the model '{model}' cannot be loaded ({reason}): name {called} model") from None
    if about["missing_keys"]:  # transformers would draw them at random
        raise InputError(f"the model '{model}' lacks {min(about['missing_keys'])}: name {called} model")
    return processor, network.eval()
