"""Complete Journey: a year of grocery baskets of 2,469 households (84.51°), from its package's parquet files."""

import re
from pathlib import Path

import polars as pl

from llmesr.errors import InputError
from llmesr.prepare.sources.reading import fetched
from llmesr.settings import DatasetSettings

BASKETS = {"household_id", "product_id", "transaction_timestamp"}
PRODUCTS = {
    "product_id",
    "manufacturer_id",
    "product_type",
    "product_category",
    "department",
    "brand",
    "package_size",
}
WORDS = {
    "SW GDS": "sweet goods",
    "NON RW": "fixed weight",
    "RW": "random weight",
    "FRE": "fresh",
    "FRZ": "frozen",
    "FRZN": "frozen",
    "IQF": "individually frozen",
    "BRD": "breaded",
    "SHLFSH": "shellfish",
    "MISC": "other",
    "CNTRL": "control",
    "LIQS": "liquids",
    "LIQ": "liquid",
    "NTRTNL": "nutritional",
    "NUT SUPP": "nutritional supplement",
    "JCE": "juice",
    "FDS": "food",
    "CKE": "cake",
    "CNDLES": "candles",
    "RETL": "retail",
    "ACCSS": "accessories",
    "ACCESS": "accessories",
    "CRSTDAS": "crostatas",
    "SWT": "sweet",
    "FLVRD": "flavoured",
    "SW": "sweet",
    "DAN": "Danish",
    "LSS THN": "less than",
    "LESS THN": "less than",
    "CND": "canned",
    "SCE": "sauce",
    "RTD": "ready to drink",
    "CKTLS": "cocktails",
    "BTR": "batter",
    "OCCAS": "occasions",
}
"""What the cash register's abbreviations stand for."""


def load(folder: Path, recipe: DatasetSettings) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Load the baskets of `recipe.departments` as interactions, the products as items, and what is known of households.

    Raises:
        InputError: a file is missing, is damaged or has other columns, or a department is not in the products.
    """
    baskets = fetched(folder / "transactions.parquet", pl.read_parquet, BASKETS)
    products = fetched(folder / "products.parquet", pl.read_parquet, PRODUCTS)
    known = set(products["department"].drop_nulls())
    for department in recipe.departments:
        if department not in known:
            raise InputError(
                f"key 'datasets.complete-journey.departments' names '{department}', which is "
                f"not among {', '.join(sorted(known))}"
            )
    products = products.filter(pl.col("department").is_in(recipe.departments))
    interactions = baskets.select(
        pl.col("household_id").cast(pl.String).alias("user_id"),
        pl.col("product_id").cast(pl.String).alias("item_id"),
        pl.col("transaction_timestamp").alias("timestamp"),
    ).filter(pl.col("item_id").is_in(products["product_id"].cast(pl.String).implode()))
    items = products.select(
        pl.col("product_id").cast(pl.String).alias("item_id"),
        pl.struct("product_type", "package_size", "brand", "manufacturer_id")
        .map_elements(lambda row: title(*row.values()), pl.String)
        .alias("title"),
        pl.col("product_category").alias("category"),
        "department",
    )
    households = fetched(folder / "demographics.parquet", pl.read_parquet, {"household_id", "age", "kids_count"})
    users = households.select(
        pl.col("household_id").cast(pl.String).alias("user_id"),
        "age",
        pl.when(pl.col("kids_count") == "0").then(pl.lit("no")).otherwise(pl.lit("yes")).alias("kids"),
    )
    return interactions, items, users


def title(kind: str | None, size: str | None, brand: str | None, maker: int | None) -> str:
    """Compose a readable title, since the type alone is shared by up to 125 products.

    Such as `Cookies, regular, 12 oz, national brand, maker 69`.
    """
    words = re.sub(r"\([^)]*$", "", kind or "")  # the register cuts names off
    words = re.sub(r"\s*[:-]\s*", ", ", words)
    for short, long in WORDS.items():
        words = re.sub(rf"\b{short}\b\.?", long, words)
    words = re.sub(r"\s*&\s*", " and ", words).lower().strip(" ,")
    parts = [words.capitalize(), (size or "").lower(), f"{brand.lower()} brand" if brand else ""]
    return ", ".join(" ".join(part.split()) for part in (*parts, f"maker {maker}" if maker else "") if part)
