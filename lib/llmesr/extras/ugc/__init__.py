"""What users wrote (reviews, tags), for experiments: cleaned, told in prompts, and learned from by the encoder.

The stage `modalities` writes the cleaned texts, so that they are cleaned once. What each part needs is imported where
it is used: a dataset without texts needs none of the optional packages.
"""

import hashlib
import json
from dataclasses import replace

import polars as pl

from llmesr import embed
from llmesr.embed import Embeddings
from llmesr.experiments import Study
from llmesr.paths import artifact
from llmesr.prepare.dataset import Dataset, read_frame, read_json, save_frame, save_json
from llmesr.settings import Settings

STAGE = "modalities"
CLEANING = {"least_characters", "most_characters", "languages", "near_duplicate"}
"""Keys of `ugc` that say how texts are cleaned."""


def texts(settings: Settings, data: Dataset) -> pl.DataFrame:
    """Return what users wrote about training items, cleaned: `user`, `item`, `text`.

    What the stage `modalities` wrote is read, unless it cleaned other texts or otherwise.

    Raises:
        InputError: an optional package is not installed, or the stage's file is damaged.
    """
    return _cleaned(settings, data)[0]


def steps(settings: Settings, data: Dataset) -> dict[str, int]:
    """Count the texts that were left after each step: those of stage 01, then those of cleaning.

    Raises:
        InputError: an optional package is not installed, or the stage's file is damaged.
    """
    return {**data.card.get("texts", {"read": 0}), **_cleaned(settings, data)[1]}


def save(settings: Settings, data: Dataset) -> None:
    """Clean the texts and write `texts.parquet` and `texts.json` to `artifacts/<dataset>/modalities/`.

    Raises:
        InputError: an optional package is not installed.
    """
    folder, (cleaned, left) = artifact(data.name, STAGE), _cleaned(settings, data)
    (folder / "texts.json").unlink(missing_ok=True)  # of other texts, perhaps; it comes last
    save_frame(cleaned, folder / "texts.parquet")
    save_json({"of": _fingerprint(settings, data), "left": left}, folder / "texts.json")


def _cleaned(settings: Settings, data: Dataset) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the cleaned texts, and how many were left after each step of cleaning."""
    if data.texts.is_empty():
        return data.texts, {}
    folder = artifact(data.name, STAGE)
    if (folder / "texts.json").exists():
        account = read_json(folder / "texts.json", STAGE)
        if account.get("of") == _fingerprint(settings, data):
            return read_frame(folder / "texts.parquet", STAGE), account["left"]
    from llmesr.extras.ugc.clean import clean

    return clean(data.texts, settings.ugc)


def _fingerprint(settings: Settings, data: Dataset) -> str:
    """Hash what the cleaned texts depend on: the raw ones, and how they are cleaned."""
    digest = hashlib.sha256(json.dumps(settings.ugc.model_dump(include=CLEANING)).encode())
    for row in data.texts.iter_rows():
        digest.update(f"\0{row}".encode())
    return digest.hexdigest()


def prompts(settings: Settings, data: Dataset) -> tuple[list[str], list[str]]:
    """Write every item's and every user's prompt (V and U texts), with a sentence on what users wrote in front.

    `ugc.item_template` and `ugc.user_template` ask for the sentence. It comes first, since an encoder cuts long prompts
    at their end; items and users without a text have none.

    Raises:
        InputError: a template names what is not there, or an optional package is not installed.
    """
    item_texts, user_texts = embed.prompts(data, settings)
    chosen = settings.ugc
    if chosen.item_template or chosen.user_template:
        from llmesr.extras.ugc.text_features import sentences

        written = texts(settings, data)
        if chosen.item_template:
            for item, sentence in sentences(written, "item", chosen.item_template, chosen.keywords).items():
                item_texts[item - 1] = sentence + item_texts[item - 1]
        if chosen.user_template:
            for user, sentence in sentences(written, "user", chosen.user_template, chosen.keywords).items():
                user_texts[user] = sentence + user_texts[user]
    return item_texts, user_texts


def make_embeddings(settings: Settings, data: Dataset) -> Embeddings:
    """Do what `embed.make` does, with users' words: in the prompts, and to tune the encoder if `embed.lora.epochs`.

    Raises:
        InputError: a template, the encoder or the cache is at fault, or the encoder cannot be tuned.
    """
    item_texts, user_texts = prompts(settings, data)
    if settings.embed.lora.epochs:
        from llmesr.extras.ugc.tune import tuned

        settings = tuned(settings, texts(settings, data), item_texts)
    return embed.from_prompts(settings, item_texts, user_texts)


def without_obstacles(study: Study, data: Dataset) -> Study:
    """Mark the variants whose encoder cannot be tuned as unavailable: there are too few texts, or it runs elsewhere."""
    variants = dict(study.variants)
    for name, variant in study.available.items():
        if variant.settings.embed.lora.epochs:
            from llmesr.extras.ugc.tune import obstacle

            reason = obstacle(variant.settings, texts(variant.settings, data))
            variants[name] = replace(variant, unavailable=reason)
    return replace(study, variants=variants)
