"""Stage 21: views of an item beside the text of its prompt, from whatever a dataset has.

A view is a vector for each item that has one, and the knowledge of which have. Missing is the rule: few items are
written about, have a picture, or are known to a graph.
"""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from llmesr.embed import TEXT, Embeddings, View
from llmesr.errors import InputError
from llmesr.paths import artifact, replacing, shown
from llmesr.prepare.dataset import Dataset
from llmesr.settings import Settings

__all__ = ["View", "attach", "load", "make", "run"]


def make(settings: Settings, data: Dataset, name: str) -> View:
    """Make one of `modalities.sources`: a kind is a file of this room, with a function `make`.

    Raises:
        InputError: its files or its model are missing or at fault, or no item has it.
    """
    source = settings.modalities.sources[name]
    kind = import_module(f"{__name__}.{source.kind}")  # here, since what each needs takes seconds to import
    found = kind.make(settings, data, source)
    if not found.present.any():
        raise InputError(f"the view '{name}' has nothing to say of any item: take it out of 'modalities.make'")
    return found


def run(settings: Settings, data: Dataset) -> dict[str, View]:
    """Make the views of `modalities.make` and write `artifacts/<dataset>/modalities/<name>.safetensors`.

    Raises:
        InputError: files or a model are missing or at fault.
    """
    found = {}
    folder = artifact(data.name, "modalities")
    folder.mkdir(parents=True, exist_ok=True)
    for name in settings.modalities.make:
        found[name] = make(settings, data, name)
        with replacing(folder / f"{name}.safetensors") as temporary:
            save_file({part: np.ascontiguousarray(value) for part, value in vars(found[name]).items()}, temporary)
    return found


def load(dataset: str, name: str) -> View:
    """Load a view that the stage wrote.

    Raises:
        InputError: it is missing or damaged.
    """
    file: Path = artifact(dataset, "modalities") / f"{name}.safetensors"
    if not file.exists():
        raise InputError(
            f"{shown(file)} is missing: put '{name}' into 'modalities.make' and run "
            "`dvc repro beyond/dvc.yaml:modalities`"
        )
    try:
        return View(**load_file(file))
    except (SafetensorError, TypeError) as error:
        raise InputError(f"{shown(file)} is damaged ({error}): delete it and run the stage again") from None


def attach(settings: Settings, method: str, dataset: str, embeddings: Embeddings) -> Embeddings:
    """Give a method that fuses views those that its settings name, beside the text.

    Raises:
        InputError: one of them was not made.
    """
    named = getattr(getattr(settings.methods, method), "views", ())
    if isinstance(named, str):  # LLM-ESR's, which are always the same two
        return embeddings
    return replace(embeddings, views={name: load(dataset, name) for name in named if name != TEXT})
