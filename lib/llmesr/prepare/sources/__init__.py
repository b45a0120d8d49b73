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

from llmesr.prepare.sources import (
    amazon_2014,
    amazon_2018,
    amazon_2023,
    complete_journey,
    inter_txt,
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
    """Load a dataset's raw files with the loader of its format.

    Raises:
        InputError: a file is missing or its content is not what the format says.
    """
    raw = Raw(*FORMATS[recipe.format](folder, recipe))
    if raw.texts is None and "text" in raw.interactions.columns:  # of reviews, which are both
        return replace(raw, texts=raw.interactions.select(*WRITTEN).drop_nulls("text"))
    return raw
