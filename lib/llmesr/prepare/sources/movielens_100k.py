"""MovieLens-100K (GroupLens, research use) in RecBole's atomic files: 943 users, 1,682 movies, 100,000 ratings."""

from pathlib import Path

import polars as pl

from llmesr.errors import InputError
from llmesr.paths import shown
from llmesr.settings import Recipe


def load(folder: Path, recipe: Recipe) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Load every rating as an interaction, whatever its value, and the movies as items.

    Raises:
        InputError: a file is missing or has other columns.
    """
    ratings = _read(folder / "ml-100k.inter", {"user_id", "item_id", "timestamp"})
    movies = _read(folder / "ml-100k.item", {"item_id", "movie_title", "release_year", "class"})
    interactions = ratings.select("user_id", "item_id", pl.col("timestamp").cast(pl.Float64))
    items = movies.select(
        "item_id",
        pl.col("movie_title").alias("title"),
        pl.col("release_year").alias("year"),
        pl.col("class").alias("genres"),
    )
    return interactions, items


def _read(file: Path, columns: set[str]) -> pl.DataFrame:
    """Read an atomic file: tab-separated, headers like `user_id:token`, no quoting."""
    if not file.exists():
        raise InputError(f"{shown(file)} is missing: run `make data`")
    frame = pl.read_csv(file, separator="\t", infer_schema=False, quote_char=None)
    frame = frame.rename(lambda name: name.split(":")[0])
    if absent := columns - set(frame.columns):
        raise InputError(f"{shown(file)} lacks the column '{min(absent)}': delete it and run `make data`")
    return frame
