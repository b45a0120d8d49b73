"""Amazon reviews as published in 2018 (Ni, Li, McAuley): `X.json.gz` and `meta_X.json.gz`, of one category X.

Both are JSON lines. The paper's Fashion is of this kind.
"""

import re
from pathlib import Path

import polars as pl

from llmesr.prepare.sources import lines
from llmesr.prepare.sources.amazon_2014 import REVIEWS, find
from llmesr.settings import DatasetSettings

COLUMNS = {
    "title": "title",
    "brand": "brand",
    "price": "price",
    "categories": "category",
    "features": "feature",
    "description": "description",
}
PRICE = re.compile(r"\$[\d,.]+(?: ?- ?\$[\d,.]+)?")


def load(folder: Path, recipe: DatasetSettings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Load every review as an interaction, and the products that occur as items.

    A product without metadata or title is called `unknown`.

    Raises:
        InputError: a file is missing, ambiguous or damaged, or a line is malformed.
    """
    reviews, metadata = find(folder, "X")
    interactions = lines.interactions(reviews, REVIEWS, recipe.texts)
    clean = {"price": _price, "title": _title}
    items = lines.catalogue(metadata, interactions["item_id"], "asin", COLUMNS, clean=clean)
    return interactions, items


def _price(text: str) -> str | None:
    """Keep an amount or a range; some products have the page's style sheet there instead."""
    return text if PRICE.fullmatch(text) else None


def _title(text: str) -> str | None:
    """Drop the page's script, which some products have instead of a title."""
    return None if "getTime" in text else text
