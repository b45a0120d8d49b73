"""Raw formats, one file each. Every loader gives the same two frames.

Interactions: `user_id`, `item_id` (str), `timestamp` (sortable), in the order of the file; further columns,
such as `rating` and `text`, are there for whoever wants them.
Items: `item_id`, `title` (str) and further columns of text, each an attribute for the prompt.
Some give a third, users: `user_id` (str) and attributes, which no model sees; they are for audits; or None.
Some give a fourth, texts by users about items: `user_id`, `item_id`, `timestamp`, `text`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from llmesr.errors import InputError
from llmesr.notes import note
from llmesr.paths import shown
from llmesr.prepare import titles
from llmesr.prepare.sources import (
    amazon_2014,
    amazon_2018,
    amazon_2023,
    complete_journey,
    files,
    inter_txt,
    lines,
    movielens,
    movielens_100k,
    table,
    yelp,
)
from llmesr.settings import DatasetSettings


@dataclass(frozen=True)
class Raw:
    """What a loader gives: interactions and items, what is known of users, and what they wrote, as they came."""

    interactions: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame | None = None
    texts: pl.DataFrame | None = None


WRITTEN = ("user_id", "item_id", "timestamp", "text")

Loader = Callable[[Path, Any], tuple[pl.DataFrame | None, ...]]

FORMATS: dict[str, Loader] = {
    "complete-journey": complete_journey.load,
    "movielens-100k": movielens_100k.load,
    "amazon-2014": amazon_2014.load,
    "amazon-2018": amazon_2018.load,
    "amazon-2023": amazon_2023.load,
    "yelp": yelp.load,
    "movielens": movielens.load,
    "inter-txt": inter_txt.load,
    "table": table.load,
}


def load_raw(folder: Path, recipe: DatasetSettings) -> Raw:
    """Load a dataset's raw files with the loader of its format; titles that are none are null.

    Raises:
        InputError: a file is missing or its content is not what the format says.
    """
    name = recipe.format
    if name == "table" and not files.named(folder, "interactions") and (known := recognised(folder)):
        note(f"{shown(folder)} holds the files of '{known}' and is read as that ('format: {known}' says it for good)")
        name = known
    raw = Raw(*FORMATS[name](folder, recipe))
    if raw.interactions.is_empty():
        raise InputError(f"{shown(folder)} holds no interactions: its table has no rows")
    raw = replace(raw, items=titles.usable(raw.items))
    if raw.texts is None and "text" in raw.interactions.columns:  # of reviews, which are both
        return replace(raw, texts=raw.interactions.select(*WRITTEN).drop_nulls("text"))
    return raw


def recognised(folder: Path) -> str | None:
    """Recognise one of the formats that have names for their files."""
    names = {file.name for file in folder.glob("*") if file.is_file()}
    if any(layout.ratings in names and layout.movies in names for layout in movielens.LAYOUTS):
        return "movielens"
    if any(name.startswith(f"{release}_review.") for release in yelp.RELEASES for name in names):
        return "yelp"
    if {"transactions.parquet", "products.parquet", "demographics.parquet"} <= names:
        return "complete-journey"
    if any(name.startswith("meta_") and name.endswith(lines.ENDINGS) for name in names):
        return amazon_2023.release(folder)
    return "inter-txt" if inter_txt.interactions_file(folder) else None
