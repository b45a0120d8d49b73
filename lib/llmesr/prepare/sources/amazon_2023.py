"""Amazon reviews as published in 2023 (Hou et al.): `X.jsonl.gz` and `meta_X.jsonl.gz`, of one category X.

Variants of a product (size, colour) share a `parent_asin`, which is the item here as it is in the metadata.
"""

import re
from pathlib import Path

import polars as pl

from llmesr.prepare.sources import files, lines, table
from llmesr.prepare.sources.amazon_2014 import find
from llmesr.settings import DatasetSettings

REVIEWS = lines.Reviews("user_id", "parent_asin", "timestamp", "rating", "text")
COLUMNS = {
    "title": "title",
    "store": "store",
    "price": "price",
    "categories": "categories",
    "features": "features",
    "description": "description",
    "details": "details",
}


SPLIT = re.compile(r"\.(train|valid|test)\.csv(\.gz)?$")


def load(folder: Path, recipe: DatasetSettings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Load every review as an interaction, and the products that occur as items.

    The files that the publishers split already (`X.train.csv`, `X.valid.csv`, `X.test.csv`) are read as one; how they
    were split is left to `prepare.split`. A product without metadata or title is called `unknown`.

    Raises:
        InputError: a file is missing, ambiguous or damaged, or a line is malformed.
    """
    if any(SPLIT.search(file.name) for file in folder.glob("*.csv*")):
        parts = files.of_interactions(folder, recipe)
        interactions = table.read_interactions(parts, recipe).frame.select("user_id", "item_id", "timestamp")
        metadata = lines.find(folder, lambda name: name.startswith("meta_"), "file of metadata 'meta_X'")
    else:
        reviews, metadata = find(folder, "X")
        interactions = lines.interactions(reviews, REVIEWS, recipe.texts)
    items = lines.catalogue(metadata, interactions["item_id"], "parent_asin", COLUMNS)
    return interactions, items


def release(folder: Path) -> str:
    """Tell the release of an Amazon folder by its first metadata: Python literals, or JSON with or without parents."""
    metadata = next(file for file in sorted(folder.glob("meta_*")) if file.name.endswith(lines.ENDINGS))
    _, first = next(lines.numbered(metadata), (1, b"{}"))
    try:
        return "amazon-2023" if "parent_asin" in lines.json_object(first) else "amazon-2018"
    except ValueError:
        return "amazon-2014"
