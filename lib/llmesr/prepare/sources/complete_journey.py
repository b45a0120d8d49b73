"""Complete Journey: a year of grocery baskets of 2,469 households (84.51°), from its package's parquet files."""

from pathlib import Path

import polars as pl

from llmesr.errors import InputError
from llmesr.prepare.sources.reading import fetched
from llmesr.settings import DatasetSettings

BASKETS = {"household_id", "product_id", "transaction_timestamp"}
PRODUCTS = {"product_id", "product_type", "product_category", "department", "brand", "package_size"}


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
        pl.col("product_type").alias("title"),
        pl.col("product_category").alias("category"),
        "department",
        "brand",
        pl.col("package_size").alias("size"),
    )
    households = fetched(folder / "demographics.parquet", pl.read_parquet, {"household_id", "age", "kids_count"})
    users = households.select(
        pl.col("household_id").cast(pl.String).alias("user_id"),
        "age",
        pl.when(pl.col("kids_count") == "0").then(pl.lit("no")).otherwise(pl.lit("yes")).alias("kids"),
    )
    return interactions, items, users
