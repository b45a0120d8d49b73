"""A trained run as a folder that needs nothing else: weights, embeddings, catalogue, settings, versions."""

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file

from llmesr import models
from llmesr.embed import Embeddings
from llmesr.errors import InputError
from llmesr.models.methods import Method
from llmesr.paths import replacing, sha256, shown
from llmesr.prepare.dataset import save_frame, save_json
from llmesr.retrieve import Neighbours
from llmesr.settings import Served, Settings

FORMAT = 1
"""Of the folder; a change that older code cannot read raises it."""
FILES = ("weights.safetensors", "texts.safetensors", "items.parquet")


@dataclass(frozen=True)
class Package:
    """What a saved recommender is made of; items that were added after training come last."""

    settings: Settings | Served
    model: Method
    items: pl.DataFrame
    texts: np.ndarray
    trained: int
    about: dict


def save(kept: Package, folder: Path) -> None:
    """Write a package; `card.json` comes last and holds the other files' digests."""
    with replacing(folder / "weights.safetensors") as temporary:
        save_file({name: value.contiguous() for name, value in kept.model.state_dict().items()}, temporary)
    with replacing(folder / "texts.safetensors") as temporary:
        save_arrays({"texts": np.ascontiguousarray(kept.texts)}, temporary)
    save_frame(kept.items, folder / "items.parquet")
    card = {
        "format": FORMAT,
        "versions": {name: version(name) for name in ("llmesr", "torch", "transformers")},
        "trained": kept.trained,
        "about": kept.about,
        "files": {name: sha256(folder / name) for name in FILES},
        "settings": Served.of(kept.settings).model_dump(mode="json", by_alias=True),
    }
    save_json(card, folder / "card.json")


def load(folder: Path) -> Package:
    """Read a package.

    Raises:
        InputError: it is none, is damaged, or was written by another format or under settings that are not known here.
    """
    if not (folder / "card.json").exists():
        raise InputError(
            f"{shown(folder)} holds no saved recommender (card.json): run `make demo`, or `save` one there"
        )
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    except ValueError:
        card = None
    if not isinstance(card, dict):
        raise InputError(f"{shown(folder / 'card.json')} is damaged: save it anew")
    if (written := card.get("format")) != FORMAT:
        raise InputError(f"{shown(folder)} has the format {written}, and this version reads {FORMAT}: save it anew")
    if lacking := {"files", "settings", "trained", "about"} - set(card):
        raise InputError(f"{shown(folder / 'card.json')} lacks '{min(lacking)}': save it anew")
    if lacking := set(FILES) - set(card["files"]):
        raise InputError(f"{shown(folder / 'card.json')} has no digest of {min(lacking)}: save it anew")
    for name, digest in card["files"].items():
        if not (folder / name).exists() or sha256(folder / name) != digest:
            raise InputError(f"{shown(folder / name)} is missing or is not what card.json says: save it anew")
    try:
        settings = Served.model_validate(card["settings"])
    except ValidationError as problem:
        key = ".".join(str(part) for part in problem.errors()[0]["loc"])
        raise InputError(
            f"{shown(folder)} was saved under settings that this version does not know ('{key}'): save it anew"
        ) from None
    texts, trained, about = load_arrays(folder / "texts.safetensors")["texts"], card["trained"], card["about"]
    model = _model(settings, about, texts[:trained], folder)
    return Package(settings, model, pl.read_parquet(folder / "items.parquet"), texts, trained, about)


def _model(settings: Served, about: dict, texts: np.ndarray, folder: Path) -> Method:
    """Build the model that was trained, and give it its weights; users and teachers are of no use any more."""
    nobody = np.zeros((1, 1), np.int64)
    initial = np.zeros((len(texts) + 1, settings.model.hidden), np.float32)
    embeddings = Embeddings(np.pad(texts, ((1, 0), (0, 0))), initial, np.zeros((1, texts.shape[1]), np.float32))
    model = models.build(
        settings, about["backbone"], about["method"], about["seed"], embeddings, Neighbours(nobody, nobody)
    )
    try:
        model.load_state_dict(load_file(folder / "weights.safetensors"))
    except (RuntimeError, SafetensorError) as problem:
        reason = str(problem).splitlines()[0]
        raise InputError(
            f"{shown(folder)} was saved by another version of the method ({reason}): save it anew"
        ) from None
    return model
