"""The MovieLens family (GroupLens, research use) as its archives are unpacked.

`ratings.csv` and `movies.csv`, with or without a header (ml-latest-small, ml-20m, ml-25m, ml-32m);
`ratings.dat` and `movies.dat` with `::` between the fields (ml-1m, ml-10m); or `u.data` and `u.item` (ml-100k).
What users wrote lies beside them in `tags.csv` or `tags.dat`, which may be missing.
"""

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from llmesr.errors import InputError
from llmesr.paths import shown
from llmesr.prepare.sources import lines
from llmesr.settings import DatasetSettings

GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical"),
    *("Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
"""What the last 19 fields of `u.item` stand for."""
NO_GENRE = {"unknown", "(no genres listed)", ""}
YEAR = re.compile(r"(?P<title>.*\S)\s*\((?P<year>\d{4})[^()]*\)\s*")


def _text(line: bytes) -> str:
    """Decode a line: ml-100k and ml-1m are Latin-1, the younger ones UTF-8."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        text = line.decode("latin-1")
    return text.rstrip("\r\n")


def _commas(line: bytes) -> list[str]:
    try:
        return next(csv.reader([_text(line)], strict=True))
    except csv.Error as error:
        raise ValueError(f"malformed CSV, {error}") from None


def _separated(separator: str) -> Callable[[bytes], list[str]]:
    return lambda line: _text(line).split(separator)


@dataclass(frozen=True)
class Layout:
    """How one generation of the family lays out its two files."""

    ratings: str
    movies: str
    tags: str | None
    split_ratings: Callable[[bytes], list[str]]
    split_movies: Callable[[bytes], list[str]]
    movie_fields: int = 3
    header: bool = False  # whether it may have one


LAYOUTS = (
    Layout("ratings.csv", "movies.csv", "tags.csv", _commas, _commas, header=True),
    Layout("ratings.dat", "movies.dat", "tags.dat", _separated("::"), _separated("::")),
    Layout("u.data", "u.item", None, _separated("\t"), _separated("|"), movie_fields=5 + len(GENRES)),
)
RATING_COLUMNS = ["userId", "movieId", "rating", "timestamp"]
MOVIE_COLUMNS = ["movieId", "title", "genres"]
TAG_COLUMNS = ["userId", "movieId", "tag", "timestamp"]


def load(folder: Path, recipe: DatasetSettings) -> tuple[pl.DataFrame, pl.DataFrame, None, pl.DataFrame | None]:
    """Load every rating as an interaction, whatever its value, all movies as items, and tags if asked for.

    The year in a title like "Toy Story (1995)" becomes a column of its own. A rated movie that is not among
    the movies is called `unknown`.

    Raises:
        InputError: a file is missing or damaged, two layouts are mixed, or a line is malformed.
    """
    layout = _layout(folder)
    schema = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64, "rating": pl.Float32}
    file = folder / layout.ratings
    skip = _header(file, RATING_COLUMNS) if layout.header else 0
    interactions = lines.collect(lines.parsed(file, layout.split_ratings, _rating, skip), schema)
    items = read_films(folder / layout.movies)
    items = lines.complete(items, interactions["item_id"], pl.lit(lines.UNKNOWN))
    return interactions, items, None, _tags(folder, layout) if recipe.texts else None


def read_films(file: Path) -> pl.DataFrame:
    """Read a list of films, of whichever generation: `item_id`, `title`, `year`, `genres`, each film once.

    Raises:
        InputError: it has another name than such lists have, or a line is malformed.
    """
    layout = next((layout for layout in LAYOUTS if layout.movies == file.name), None)
    if layout is None:
        raise InputError(f"{shown(file)} is called neither {' nor '.join(part.movies for part in LAYOUTS)}: rename it")
    skip = _header(file, MOVIE_COLUMNS) if layout.header else 0
    movies = lines.parsed(file, layout.split_movies, lambda row: _movie(row, layout), skip)
    items = lines.collect(movies, dict.fromkeys(("item_id", "title", "year", "genres"), pl.String))
    return items.unique("item_id", keep="first", maintain_order=True)


def _tags(folder: Path, layout: Layout) -> pl.DataFrame | None:
    """Read the tags, if there are any."""
    if layout.tags is None or not (folder / layout.tags).exists():
        return None
    file = folder / layout.tags
    skip = _header(file, TAG_COLUMNS) if layout.header else 0
    schema = {"user_id": pl.String, "item_id": pl.String, "text": pl.String, "timestamp": pl.Int64}
    return lines.collect(lines.parsed(file, layout.split_ratings, _tag, skip), schema).drop_nulls("text")


def _layout(folder: Path) -> Layout:
    found = [layout for layout in LAYOUTS if (folder / layout.ratings).exists()]
    if len(found) > 1:
        names = " and ".join(layout.ratings for layout in found)
        raise InputError(f"{shown(folder)} has {names}: leave the files of one dataset there")
    if not found:
        expected = ", or ".join(f"{layout.ratings} with {layout.movies}" for layout in LAYOUTS)
        raise InputError(f"{shown(folder)} has no ratings: put {expected} there")
    if not (folder / found[0].movies).exists():
        raise InputError(f"{shown(folder / found[0].movies)} is missing: put it beside {found[0].ratings}")
    return found[0]


def _header(file: Path, expected: list[str]) -> int:
    """Count the lines of header, 1 or 0: some copies begin with the first record, whose id is a number."""
    number, first = next(lines.numbered(file), (1, b"0"))
    columns = _text(first).split(",")
    if columns == expected:
        return number
    if not columns[0].isdigit():
        raise InputError(f"{shown(file)}, line {number} is not the header {','.join(expected)}: correct it")
    return 0


def _rating(row: list[str]) -> tuple:
    fields = dict(zip(RATING_COLUMNS, _of_length(row, 4), strict=True))
    user, item = lines.identity(fields, "userId"), lines.identity(fields, "movieId")
    return user, item, lines.whole(fields, "timestamp"), lines.rating(fields, "rating")


def _tag(row: list[str]) -> tuple:
    fields = dict(zip(TAG_COLUMNS, _of_length(row, 4), strict=True))
    user, item = lines.identity(fields, "userId"), lines.identity(fields, "movieId")
    return user, item, fields["tag"].strip() or None, lines.whole(fields, "timestamp")


def _movie(row: list[str], layout: Layout) -> tuple:
    _of_length(row, layout.movie_fields)
    item, whole_title = lines.identity({"movieId": row[0]}, "movieId"), row[1].strip()
    genres = row[2].split("|")
    if layout.movie_fields > 3:
        genres = [genre for genre, flag in zip(GENRES, row[5:], strict=True) if flag == "1"]
    dated = YEAR.fullmatch(whole_title)
    title, year = dated.group("title", "year") if dated else (whole_title or None, None)
    return item, title, year, ", ".join(genre for genre in genres if genre not in NO_GENRE) or None


def _of_length(row: list[str], expected: int) -> list[str]:
    if len(row) != expected:
        raise ValueError(f"{len(row)} fields instead of {expected}")
    return row
