"""Amazon reviews as published in 2014 (McAuley): `reviews_X.json.gz` and `meta_X.json.gz`, of one category X.

Reviews are JSON lines; metadata are lines of Python literals. The paper's Beauty is of this kind.
"""

from pathlib import Path

import polars as pl

from llmesr.prepare.sources import lines
from llmesr.settings import DatasetSettings

REVIEWS = lines.Reviews("reviewerID", "asin", "unixReviewTime", "overall", "reviewText")
COLUMNS = {
    "title": "title",
    "brand": "brand",
    "price": "price",
    "categories": "categories",
    "description": "description",
}


def load(folder: Path, recipe: DatasetSettings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Load every review as an interaction, and the products that occur as items.

    A product without metadata or title is called `unknown`.

    Raises:
        InputError: a file is missing, ambiguous or damaged, or a line is malformed.
    """
    reviews, metadata = find(folder, "reviews_X")
    interactions = lines.interactions(reviews, REVIEWS, recipe.texts)
    items = lines.catalogue(metadata, interactions["item_id"], "asin", COLUMNS, lines.python_object)
    return interactions, items


def find(folder: Path, reviews: str) -> tuple[Path, Path]:
    """Find the reviews and the metadata of an Amazon release: the one file called `meta_…` and the one that is not.

    Raises:
        InputError: one of them is missing or ambiguous.
    """
    return (
        lines.find(folder, lambda name: not name.startswith("meta_"), f"file of reviews '{reviews}'"),
        lines.find(folder, lambda name: name.startswith("meta_"), "file of metadata 'meta_X'"),
    )
