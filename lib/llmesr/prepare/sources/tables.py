"""A table of any kind as text: delimited text, JSON lines or a JSON list, parquet."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NoReturn

import polars as pl

from llmesr.errors import InputError
from llmesr.notes import note
from llmesr.paths import shown
from llmesr.prepare.sources import columns, delimited, lines
from llmesr.prepare.sources.reading import reason
from llmesr.settings import DatasetSettings

DELIMITED = (".csv", ".tsv", ".txt", ".dat", ".inter", ".item", ".user")
JSON = (".jsonl", ".json", ".ndjson")
ENDINGS = (*(ending + zipped for ending in (*DELIMITED, *JSON) for zipped in ("", ".gz")), ".parquet")
"""Endings of a table, in the order in which they are looked for."""


@dataclass(frozen=True)
class Table:
    """A table as it was read.

    Attributes:
        file: where it comes from.
        frame: its columns, ids and text as text, `line` beside them: the line or row of the file.
        headed: false if its columns have no names, and are called 1, 2, ….
    """

    file: Path
    frame: pl.DataFrame
    headed: bool = True

    @property
    def names(self) -> list[str]:
        """Names of its own columns."""
        return [name for name in self.frame.columns if name != "line"]

    def at(self, row: int) -> str:
        """Name a row as an editor counts it; parquet, and what is no file, has rows only."""
        counted = "row" if self.file.suffix in ("", ".parquet") else "line"
        return f"{shown(self.file)}, {counted} {self.frame['line'][row]}"

    def refuse(self, where: pl.Series, problem: str) -> NoReturn:
        """Name the first row for which `where` is true."""
        raise InputError(f"{self.at(int(where.arg_max()))}: {problem}")


def read(file: Path, recipe: DatasetSettings, *, timed: bool = False) -> Table:
    """Read a table of any kind: empty text is null, lists and sections become text, an unnamed index goes.

    With `timed`, points in time stay as a parquet file has them.

    Raises:
        InputError: the file cannot be read, or a column holds what is no text.
    """
    headed = True
    if file.suffix == ".parquet":
        frame = _parquet(file)
    elif file.name.removesuffix(".gz").endswith(JSON):
        frame = _json(file)
    else:
        frame, headed = delimited.read(file, _header(recipe), recipe.separator, recipe.encoding)
    table = Table(file, flattened(frame, shown(file), timed=timed), headed)
    index = [name for name in table.names if _is_index(name, frame)]
    if index:
        note(f"{shown(file)}: the column {index[0]!r} only counts the rows, and is left out")
    return Table(file, table.frame.drop(index), headed)


def peek(file: Path, recipe: DatasetSettings) -> list[str]:
    """Read the names of a table's columns, or 1, 2, … for each that has none."""
    if file.suffix == ".parquet":
        try:
            return list(pl.read_parquet_schema(file))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise InputError(f"{shown(file)} cannot be read ({reason(error)}): correct it") from None
    if file.name.removesuffix(".gz").endswith(JSON):
        first = next(lines.parsed(file, lines.json_object, lambda fields: fields), {})
        return list(first)
    return delimited.names(file, _header(recipe), recipe.separator, recipe.encoding)


def _header(recipe: DatasetSettings) -> Callable[[Sequence[str]], bool]:
    """Make a test of whether a record names columns: one of the names that are looked for is among them."""
    chosen = [name for name in recipe.columns.values() if isinstance(name, str)]
    numbered = any(isinstance(name, int) for name in recipe.columns.values())

    def is_header(record: Sequence[str]) -> bool:
        names = [name.strip() for name in record]
        if numbered:
            return False
        known = any(columns.role_of(name) or columns.plain(name) == "id" for name in names)
        return known or any(name in names for name in chosen)

    return is_header


def flattened(frame: pl.DataFrame, where: str, *, timed: bool = False) -> pl.DataFrame:
    """Turn every column into text, lists and sections into their parts; with `timed` all but points in time.

    Raises:
        InputError: a column holds what is no text.
    """
    changed = []
    for column in frame.get_columns():
        kind = column.dtype
        if column.name == "line" or kind == pl.String:
            continue
        if kind.is_nested():
            texts = [lines.plain(_python(value)) for value in column]
            changed.append(pl.Series(column.name, texts, pl.String))
        elif kind == pl.Binary:
            try:
                changed.append(column.cast(pl.String))
            except pl.exceptions.PolarsError:
                raise InputError(
                    f"{where}: the column '{column.name[:60]}' holds bytes, no text: leave it out"
                ) from None
        elif kind == pl.Object:
            raise InputError(f"{where}: the column '{column.name[:60]}' holds objects, no text: leave it out")
        elif timed and columns.role_of(column.name) == "timestamp":
            continue
        elif kind.is_float() and _is_id(column.name) and (column.drop_nulls() % 1 == 0).all():
            changed.append(column.cast(pl.Int64, strict=False).cast(pl.String))  # pandas has 1.0 for 1
        else:
            changed.append(column.cast(pl.String))
    frame = frame.with_columns(changed)
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    return frame.with_columns(pl.col(texts).replace("", None)) if texts else frame


def _is_id(name: str) -> bool:
    return columns.role_of(name) in {"user_id", "item_id"} or columns.plain(name) == "id"


def _python(value: object) -> object:
    """Turn a cell of polars into lists and dicts."""
    if isinstance(value, pl.Series):
        return [_python(part) for part in value]
    if isinstance(value, dict):
        return {key: _python(part) for key, part in value.items()}
    return value


def _parquet(file: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(file).with_row_index("line", offset=1).with_columns(pl.col("line").cast(pl.Int64))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{shown(file)} cannot be read ({reason(error)}): correct it") from None


def _json(file: Path) -> pl.DataFrame:
    """Read JSON lines, or a list of JSON objects: numbers as they are written, lists and sections as text."""
    rows: Iterable[tuple[int, dict]]
    _, start = next(lines.numbered(file), (1, b""))
    if start.lstrip().startswith(b"["):
        rows = enumerate(_json_list(file), start=1)
    else:
        rows = lines.parsed_with_lines(file, lines.json_object)
    chunks = []
    while chunk := list(islice(rows, lines.CHUNK)):
        names = list(dict.fromkeys(name for _, fields in chunk for name in fields))
        cells = {name: [lines.plain(fields.get(name)) for _, fields in chunk] for name in names}
        numbers = pl.Series("line", [number for number, _ in chunk], pl.Int64)
        chunks.append(pl.DataFrame([numbers, *(pl.Series(name, cells[name], pl.String) for name in names)]))
    return pl.concat(chunks, how="diagonal") if chunks else pl.DataFrame(schema={"line": pl.Int64})


def _json_list(file: Path) -> list[dict]:
    try:
        content = json.loads(b"".join(line for _, line in lines.numbered(file)))
    except ValueError as error:
        raise InputError(f"{shown(file)} is no valid JSON ({error}): correct it") from None
    if not all(isinstance(row, dict) for row in content):
        raise InputError(f"{shown(file)} is no list of JSON objects: write an object for each row")
    return content


def _is_index(name: str, frame: pl.DataFrame) -> bool:
    """Whether a column without a real name only counts the rows, as pandas writes them."""
    if not re.fullmatch(r"unnamed \d+|Unnamed: \d+|__index_level_\d+__", name):
        return False
    values = frame[name].cast(pl.Int64, strict=False)
    return values.null_count() == 0 and values.eq(pl.int_range(values[0], values[0] + len(values), eager=True)).all()


def table_of(frame: pl.DataFrame, called: str) -> Table:
    """Make a table of a frame that is no file, all columns as text.

    Raises:
        InputError: a column holds what is no text.
    """
    return Table(Path(called), flattened(frame, called).with_row_index("line", offset=1))


def cut_short(text: str, most: int = 60) -> str:
    """Cut what a message repeats of a file."""
    return text if len(text) <= most else text[:most] + "…"
