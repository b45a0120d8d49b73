"""Amazon reviews as published in 2023 (Hou et al.): `X.jsonl.gz` and `meta_X.jsonl.gz`, of one category X.

Variants of a product (size, colour) share a `parent_asin`, which is the item here as it is in the metadata.
"""

from pathlib import Path

import polars as pl

from llmesr.prepare.sources import lines
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


def load(folder: Path, recipe: DatasetSettings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Load every review as an interaction, and the products that occur as items.

    A product without metadata or title is called `unknown`.

    Raises:
        InputError: a file is missing, ambiguous or damaged, or a line is malformed.
    """
    reviews, metadata = find(folder, "X")
    interactions = lines.interactions(reviews, REVIEWS, recipe.texts)
    items = lines.catalogue(metadata, interactions["item_id"], "parent_asin", COLUMNS)
    return interactions, items
