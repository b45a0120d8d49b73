"""MovieLens-100K (GroupLens, research use) in RecBole's atomic files: 943 users, 1,682 movies, 100,000 ratings."""

from pathlib import Path

import polars as pl

from llmesr.errors import InputError
from llmesr.paths import shown
from llmesr.prepare.sources.reading import fetched, numbers
from llmesr.settings import DatasetSettings


def load(folder: Path, recipe: DatasetSettings) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Load every rating as an interaction, whatever its value, the movies as items, and users' gender and age group.

    Raises:
        InputError: a file is missing, is no text or has other columns, or a timestamp is no number.
    """
    ratings_file = folder / "ml-100k.inter"
    ratings = fetched(ratings_file, _read, {"user_id", "item_id", "timestamp"})
    movies = fetched(folder / "ml-100k.item", _read, {"item_id", "movie_title", "release_year", "class"})
    times = numbers(ratings["timestamp"])
    if times.null_count():
        row = times.is_null().arg_max()
        raise InputError(
            f"{shown(ratings_file)}, line {row + 2}: timestamp '{ratings['timestamp'][row]}' is no number: "
            "delete the file and run `make data`"
        )
    items = movies.select(
        "item_id",
        pl.col("movie_title").alias("title"),
        pl.col("release_year").alias("year"),
        pl.col("class").alias("genres"),
    )
    people = fetched(folder / "ml-100k.user", _read, {"user_id", "age", "gender"})
    years = pl.col("age").cast(pl.Int32, strict=False)
    young, middle = (pl.when(years < edge).then(pl.lit(name)) for edge, name in ((25, "under 25"), (45, "25-44")))
    age = pl.coalesce(young, middle, pl.when(years >= 45).then(pl.lit("over 44"))).alias("age")
    return ratings.select("user_id", "item_id", times), items, people.select("user_id", "gender", age)


def _read(file: Path) -> pl.DataFrame:
    """Read an atomic file: tab-separated, headers like `user_id:token`, no quoting."""
    frame = pl.read_csv(file, separator="\t", infer_schema=False, quote_char=None)
    return frame.rename(lambda name: name.split(":")[0])
