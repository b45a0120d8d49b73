"""Complete Journey: a year of grocery baskets of 2,469 households (84.51°), from its package's parquet files."""

from pathlib import Path

import polars as pl

from llmesr.errors import InputError
from llmesr.paths import shown
from llmesr.settings import DepartmentRecipe


def load(folder: Path, recipe: DepartmentRecipe) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Load the baskets of `recipe.departments` as interactions, and the products as items.

    Raises:
        InputError: a file is missing, or a department is not in the products.
    """
    for name in ("transactions.parquet", "products.parquet"):
        if not (folder / name).exists():
            raise InputError(f"{shown(folder / name)} is missing: run `make data`")
    products = pl.read_parquet(folder / "products.parquet")
    known = set(products["department"].drop_nulls())
    for department in recipe.departments:
        if department not in known:
            raise InputError(
                f"key 'prepare.recipes.complete-journey.departments' names '{department}', which is "
                f"not among {', '.join(sorted(known))}"
            )
    products = products.filter(pl.col("department").is_in(recipe.departments))
    interactions = (
        pl.read_parquet(folder / "transactions.parquet")
        .select(
            pl.col("household_id").cast(pl.String).alias("user_id"),
            pl.col("product_id").cast(pl.String).alias("item_id"),
            pl.col("transaction_timestamp").alias("timestamp"),
        )
        .filter(pl.col("item_id").is_in(products["product_id"].cast(pl.String).implode()))
    )
    items = products.select(
        pl.col("product_id").cast(pl.String).alias("item_id"),
        pl.col("product_type").alias("title"),
        pl.col("product_category").alias("category"),
        "department",
        "brand",
        pl.col("package_size").alias("size"),
    )
    return interactions, items
