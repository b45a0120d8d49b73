"""A trained run as a folder that needs nothing else: weights, embeddings, catalogue, settings, versions."""

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file

from llmesr.errors import InputError
from llmesr.models.backbones import BACKBONES
from llmesr.models.backbones.base import ModelSettings
from llmesr.models.base import Method
from llmesr.models.build import build
from llmesr.models.inputs import ItemView, ModelInputs
from llmesr.models.registry import METHODS
from llmesr.paths import replacing, sha256, shown
from llmesr.prepare.dataset import save_frame, save_json
from llmesr.runs.store import Run
from llmesr.section import Section
from llmesr.settings import EmbedSettings, RecommendSettings, Settings

FORMAT = 2
"""Of the folder; a change that older code cannot read raises it."""
FILES = ("weights.safetensors", "embeddings.safetensors", "items.parquet")
ENCODING = {"encoder", "normalize", "batch_tokens", "item_template", "attribute_characters"}
"""Keys of `embed` that the text of a new item is written and encoded by, beside the encoder itself."""


class Chosen(Section):
    """A backbone or a method, and its own settings."""

    name: str
    """As in `backbones` or `methods` of the settings."""
    settings: dict[str, Any]
    """Its section."""


class ServedSettings(Section):
    """What of the settings a recommender needs. Other methods and backbones, and their keys, are no concern of it."""

    embed: EmbedSettings
    """How the text of a new item is written and encoded; of the encoders there is only the one in use."""
    model: ModelSettings
    """Sizes."""
    max_length: int
    """T, the latest items of a history that are read."""
    recommend: RecommendSettings
    """How new items are placed."""
    backbone: Chosen
    """The run's backbone."""
    method: Chosen
    """The run's method."""

    @classmethod
    def of(cls, run: Run) -> "ServedSettings":
        """Pick them out of a run's settings."""
        settings, embed = run.settings, run.settings.embed
        own = {"backbone": settings.backbones, "method": settings.methods}
        named = {"backbone": run.backbone, "method": run.method}
        return cls(
            embed=embed.model_copy(update={"encoders": {embed.encoder: embed.encoders[embed.encoder]}}),
            model=settings.model,
            max_length=settings.data.max_length,
            recommend=settings.recommend,
            **{kind: Chosen(name=name, settings=own[kind].model_dump()[name]) for kind, name in named.items()},
        )

    @property
    def for_encoder(self) -> Settings:
        """Settings to encode texts with."""
        return Settings(embed=self.embed)

    def as_card(self) -> dict:
        """Lay them out for `card.json`."""
        card = self.model_dump(mode="json", exclude={"embed"})
        encoders = {name: encoder.model_dump(mode="json") for name, encoder in self.embed.encoders.items()}
        return {"embed": {**self.embed.model_dump(mode="json", include=ENCODING), "encoders": encoders}, **card}


@dataclass(frozen=True)
class Package:
    """What a saved recommender is made of; items that were added after training come last.

    Attributes:
        settings: under which it was trained.
        method: trained, in evaluation mode.
        items: the catalogue: `item_id`, `title`, attributes, `count`, `tail`; row i is item i + 1 of the model.
        texts: (V, L) LLM embeddings of the items.
        item_views: by name, what further modalities know of the items that were trained.
        trained: how many of the items were there in training.
        about: `run.json`: dataset, backbone, method, seed, validation metric.
    """

    settings: ServedSettings
    method: Method
    items: pl.DataFrame
    texts: np.ndarray
    item_views: dict[str, ItemView]
    trained: int
    about: dict


def save(package: Package, folder: Path) -> None:
    """Write a package; `card.json` comes last and holds the other files' digests."""
    arrays = {"texts": package.texts}
    for name, view in package.item_views.items():
        arrays |= {f"{name} vectors": view.vectors, f"{name} present": view.present}
    with replacing(folder / "weights.safetensors") as temporary:
        save_file({name: value.contiguous() for name, value in package.method.state_dict().items()}, temporary)
        temporary.chmod(0o644)  # safetensors lets nobody else read it
    with replacing(folder / "embeddings.safetensors") as temporary:
        save_arrays({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)
        temporary.chmod(0o644)
    save_frame(package.items, folder / "items.parquet")
    card = {
        "format": FORMAT,
        "versions": {name: version(name) for name in ("llmesr", "torch", "transformers")},
        "trained": package.trained,
        "about": package.about,
        "files": {name: sha256(folder / name) for name in FILES},
        "settings": package.settings.as_card(),
    }
    save_json(card, folder / "card.json")


def remove(folder: Path) -> None:
    """Delete what `save` wrote, and nothing else that may lie there."""
    for name in (*FILES, "card.json"):
        (folder / name).unlink(missing_ok=True)


def load(folder: Path) -> Package:
    """Read a package.

    Raises:
        InputError: it is none, is damaged, has another format, or holds a method or settings that are not known here.
    """
    card = _read_card(folder)
    settings = _read_settings(card["settings"], folder)
    arrays, trained = load_arrays(folder / "embeddings.safetensors"), card["trained"]
    texts = arrays.pop("texts")
    names = sorted({key.rsplit(" ", 1)[0] for key in arrays})
    views = {name: ItemView(arrays[f"{name} vectors"], arrays[f"{name} present"]) for name in names}
    method = _build(settings, texts[:trained], views, card["about"]["seed"], folder)
    return Package(settings, method, pl.read_parquet(folder / "items.parquet"), texts, views, trained, card["about"])


def _read_card(folder: Path) -> dict:
    file = folder / "card.json"
    if not file.exists():
        raise InputError(
            f"{shown(folder)} holds no saved recommender (card.json): run `dvc repro recommend`, or `save` one there"
        )
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        card = None
    if not isinstance(card, dict):
        raise InputError(f"{shown(file)} is damaged: save it anew")
    if (written := card.get("format")) != FORMAT:
        raise InputError(f"{shown(folder)} has the format {written}, and this version reads {FORMAT}: save it anew")
    if lacking := {"files", "settings", "trained", "about"} - set(card):
        raise InputError(f"{shown(file)} lacks '{min(lacking)}': save it anew")
    if lacking := set(FILES) - set(card["files"]):
        raise InputError(f"{shown(file)} has no digest of {min(lacking)}: save it anew")
    for name in FILES:
        if not (folder / name).exists() or sha256(folder / name) != card["files"][name]:
            raise InputError(f"{shown(folder / name)} is missing or is not what card.json says: save it anew")
    return card


def _read_settings(raw: dict, folder: Path) -> ServedSettings:
    """Check the settings; what was not there yet when they were saved gets its default."""
    where = ""
    try:
        settings = ServedSettings.model_validate(raw)
        for kind, chosen, known in (("backbone", settings.backbone, BACKBONES), ("method", settings.method, METHODS)):
            where = f"{kind}.settings."
            if chosen.name not in known:
                raise InputError(
                    f"{shown(folder)} was saved with the {kind} '{chosen.name}', which this version does not have: "
                    "use the version that saved it, or save it anew"
                )
            known[chosen.name].Settings.model_validate(chosen.settings)
    except ValidationError as problem:
        key = where + ".".join(str(part) for part in problem.errors()[0]["loc"])
        raise InputError(
            f"{shown(folder)} was saved under settings that this version does not know ('{key}'): save it anew"
        ) from None
    return settings


def _build(settings: ServedSettings, texts: np.ndarray, views: dict[str, ItemView], seed: int, folder: Path) -> Method:
    """Build the model that was trained, and give it its weights; users and their neighbours are not needed any more."""
    nobody = np.zeros((1, texts.shape[1]), np.float32), np.zeros((1, 1), np.int64)
    initial = np.zeros((len(texts) + 1, settings.model.hidden), np.float32)  # the trained values replace it
    inputs = ModelInputs(np.pad(texts, ((1, 0), (0, 0))), initial, *nobody, views)
    method, backbone = METHODS[settings.method.name], BACKBONES[settings.backbone.name]
    own = method.Settings.model_validate(settings.method.settings)
    of_backbone = backbone.Settings.model_validate(settings.backbone.settings)
    try:
        built = build(method, own, backbone, of_backbone, settings.model, settings.max_length, inputs, seed)
        built.load_state_dict(load_file(folder / "weights.safetensors"))
    except (RuntimeError, SafetensorError) as problem:
        reason = " ".join(str(problem).split())[:300]
        raise InputError(
            f"{shown(folder)} was saved by another version of the method ({reason}): save it anew"
        ) from None
    return built.eval()
