"""The plain table format, for anybody's data.

`interactions.csv` or `.parquet`: `user_id,item_id,timestamp[,rating]`.
`items.csv`, `.jsonl` or `.parquet`: `item_id,title[,…]`; every other column is an attribute for the prompt.
`users.csv`, `.jsonl` or `.parquet`, which may be missing: `user_id[,…]`; attributes for audits, which no model sees.
`texts.csv`, `.jsonl` or `.parquet`, which may be missing: `user_id,item_id,timestamp,text`; what users wrote.
A timestamp is a number or an ISO 8601 date; ties keep the order of the file.
"""

import csv
from pathlib import Path

import polars as pl

from llmesr.errors import InputError
from llmesr.paths import shown
from llmesr.prepare.sources.reading import at, numbers, reason
from llmesr.settings import DatasetSettings

ITEMS = (".csv", ".jsonl", ".parquet")
"""Endings of the table of items."""


def load(
    folder: Path, recipe: DatasetSettings
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame | None, pl.DataFrame | None]:
    """Load and check the tables of a folder.

    Raises:
        InputError: a file or column is missing, a file or row cannot be read, an item id occurs twice, an item has
            no text, or an interaction names an unknown item; the message names file and row.
    """
    interactions_file = _find(folder, "interactions", (".csv", ".parquet"))
    items_file = _find(folder, "items", ITEMS)
    interactions = _read(interactions_file, ("user_id", "item_id", "timestamp"))
    items = read_items(items_file)
    unknown = interactions.select("item_id").with_row_index("row").join(items, on="item_id", how="anti")
    if unknown.height:
        row = unknown.row(0, named=True)
        raise InputError(
            f"{at(interactions_file, row['row'])}: item '{row['item_id']}' is not in {items_file.name}: "
            f"add it there or delete the row ({unknown.height} rows like it)"
        )
    users_file = found(folder, "users", ITEMS)
    users = read_users(users_file) if users_file else None
    texts_file = found(folder, "texts", ITEMS)
    texts = read_texts(texts_file) if texts_file and recipe.texts else None
    interactions = _with_times(interactions.select("user_id", "item_id", "timestamp"), interactions_file)
    if texts is not None and texts.height and texts.schema["timestamp"] != interactions.schema["timestamp"]:
        kinds = [str(frame.schema["timestamp"]) for frame in (texts, interactions)]
        raise InputError(
            f"{shown(texts_file)} has times as {kinds[0]}, {interactions_file.name} as {kinds[1]}: write both alike"
        )
    return interactions, items, users, texts


def read_items(file: Path) -> pl.DataFrame:
    """Read and check the table of items.

    Raises:
        InputError: it cannot be read, lacks a column, an item id occurs twice, or an item has no text.
    """
    items = _read(file, ("item_id", "title"))
    _check_items(items, file)
    return items


def read_users(file: Path) -> pl.DataFrame:
    """Read and check the table of users' attributes.

    Raises:
        InputError: it cannot be read, lacks `user_id`, has a column of a name that is used here, or a user twice.
    """
    users = _read(file, ("user_id",))
    if taken := {"user", "length", "tail", "group"} & set(users.columns):
        raise InputError(f"{shown(file)} has a column '{min(taken)}', a name that is used here: rename the column")
    double = users["user_id"].is_duplicated()
    if double.any():
        row = double.arg_max()
        raise InputError(f"{at(file, row)}: user id '{users['user_id'][row]}' occurs twice: keep one of them")
    return users.with_columns(pl.exclude("user_id").cast(pl.String))


def read_texts(file: Path) -> pl.DataFrame:
    """Read and check the table of what users wrote; rows without a text are dropped.

    Raises:
        InputError: it cannot be read, lacks a column, or a timestamp is none.
    """
    texts = _read(file, ("user_id", "item_id", "timestamp"))
    if "text" not in texts.columns:
        raise InputError(f"{shown(file)} lacks the column 'text' (it has {', '.join(texts.columns)}): add it")
    texts = _with_times(texts.select("user_id", "item_id", "timestamp", pl.col("text").cast(pl.String)), file)
    return texts.drop_nulls("text")


def found(folder: Path, stem: str, endings: tuple[str, ...]) -> Path | None:
    """Find the table of that name, in the first of the formats that is there."""
    return next((file for ending in endings if (file := folder / f"{stem}{ending}").exists()), None)


def _find(folder: Path, stem: str, endings: tuple[str, ...]) -> Path:
    if file := found(folder, stem, endings):
        return file
    raise InputError(f"{shown(folder / stem)}{' or '.join(endings)} is missing: put the table there")


def _read(file: Path, columns: tuple[str, ...]) -> pl.DataFrame:
    """Read any of the formats with ids as text, empty strings as null."""
    try:
        if file.suffix == ".csv":
            frame = pl.read_csv(file, infer_schema=False)
        elif file.suffix == ".jsonl":
            frame = pl.read_ndjson(file, infer_schema_length=None)
        else:
            frame = pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        if file.suffix == ".csv" and (line := _too_long(file)):
            raise InputError(f"{shown(file)}, line {line}: more fields than the header: quote a comma in it") from None
        raise InputError(f"{shown(file)} cannot be read ({reason(error)}): correct it") from None
    for column in columns:
        if column not in frame.columns:
            raise InputError(f"{shown(file)} lacks the column '{column}' (it has {', '.join(frame.columns)}): add it")
    lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List)]
    joined = [pl.col(name).list.eval(pl.element().cast(pl.String)).list.join(", ", ignore_nulls=True) for name in lists]
    frame = frame.with_columns(joined)
    ids = [column for column in columns if column != "timestamp"]
    frame = frame.with_columns(pl.col(ids).cast(pl.String).str.strip_chars().replace("", None))
    required = [column for column in columns if column != "title"]
    for column in required:
        empty = frame[column].is_null()
        if empty.any():
            raise InputError(f"{at(file, empty.arg_max())}: '{column}' is empty: fill it or delete the row")
    return frame


def _too_long(file: Path) -> int | None:
    """Find the first line of a CSV that has more fields than the header, which polars does not name."""
    with file.open(encoding="utf-8", errors="replace", newline="") as stream:
        rows = csv.reader(stream)
        try:
            width = len(next(rows, []))
            return next((rows.line_num for row in rows if len(row) > width), None)
        except csv.Error:
            return None


ISO_DATE = r"^\d{4}-\d{2}-\d{2}([T ]|$)"
"""How a date, and a date with a time, begins; polars checks the rest."""

RESERVED = {"item", "count", "tail", "group", "attributes"}
"""Columns that the pipeline adds to items, and the template's word for all attributes."""


def _check_items(items: pl.DataFrame, file: Path) -> None:
    if taken := RESERVED & set(items.columns):
        raise InputError(f"{shown(file)} has a column '{min(taken)}', a name that is used here: rename the column")
    double = items["item_id"].is_duplicated()
    if double.any():
        row = double.arg_max()
        raise InputError(f"{at(file, row)}: item id '{items['item_id'][row]}' occurs twice: keep one of them")
    texts = items.select(pl.exclude("item_id").cast(pl.String, strict=False).str.strip_chars().replace("", None))
    silent = texts.select(pl.all_horizontal(pl.all().is_null())).to_series()
    if silent.any():
        row = silent.arg_max()
        raise InputError(
            f"{at(file, row)}: item '{items['item_id'][row]}' has no text: give it a title or an attribute"
        )


def _with_times(interactions: pl.DataFrame, file: Path) -> pl.DataFrame:
    """Parse text timestamps as numbers or ISO dates; all rows must be of one kind."""
    if interactions.schema["timestamp"] != pl.String:
        number = interactions.schema["timestamp"].is_numeric()
        return interactions.with_columns(pl.col("timestamp").cast(pl.Float64)) if number else interactions
    text = interactions["timestamp"].str.strip_chars()
    times = numbers(text)
    if times.null_count():
        iso = text.set(~text.str.contains(ISO_DATE), None)  # polars would take 01/02/2024 as well, for 1 February
        dates = iso.str.to_datetime(strict=False, time_zone="UTC")
        times = times if times.null_count() <= dates.null_count() else dates
    if times.null_count():
        row = times.is_null().arg_max()
        raise InputError(f"{at(file, row)}: timestamp '{text[row]}' is neither a number nor an ISO date: correct it")
    return interactions.with_columns(times.alias("timestamp"))
