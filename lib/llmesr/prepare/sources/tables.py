"""A table of any kind as text: delimited text, JSON lines or a JSON list, parquet."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal, NoReturn

import polars as pl

from llmesr.errors import InputError
from llmesr.notes import note
from llmesr.paths import shown
from llmesr.prepare.sources import columns, delimited, lines, times
from llmesr.prepare.sources.lines import LINE
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
        frame: its columns, ids and text as text, and `LINE` beside them, the line or row of the file.
        headed: false if its columns have no names, and are called 1, 2, ….
        counted: whether `LINE` counts lines of the file, as an editor does, or rows.
        separator: what the settings say of it, if they do.
    """

    file: Path
    frame: pl.DataFrame
    headed: bool = True
    counted: Literal["line", "row"] = "line"
    separator: str | None = None

    @property
    def names(self) -> list[str]:
        """Names of its own columns."""
        return [name for name in self.frame.columns if name != LINE]

    def at(self, row: int) -> str:
        """Name a row as an editor counts it, if the file has lines."""
        return f"{shown(self.file)}, {self.counted} {self.frame[LINE][row]}"

    def with_frame(self, frame: pl.DataFrame) -> "Table":
        """Put another frame in the place of this one."""
        return replace(self, frame=frame)

    def refuse(self, where: pl.Series, problem: str) -> NoReturn:
        """Name the first row for which `where` is true."""
        raise InputError(f"{self.at(int(where.arg_max()))}: {problem}")


def read(file: Path, recipe: DatasetSettings, *, timed: bool = False) -> Table:
    """Read a table of any kind: empty text is null, lists and sections become text, an unnamed index goes.

    With `timed`, points in time stay as a parquet file has them.

    Raises:
        InputError: the file cannot be read, or a column holds what is no text.
    """
    headed, counted = True, "line"
    _check_signature(file)
    if file.suffix == ".parquet":
        frame, counted = _parquet(file), "row"
    elif file.name.removesuffix(".gz").endswith(JSON):
        frame, counted = _json(file)
    else:
        frame, headed = delimited.read(file, _header(recipe), recipe.separator, recipe.encoding)
    table = Table(file, flattened(frame, shown(file), timed=timed), headed, counted, recipe.separator)
    index = [name for name in table.names if _is_index(name, frame)]
    if index:
        note(f"{shown(file)}: the column {index[0]!r} only counts the rows, and is left out")
    return table.with_frame(table.frame.drop(index))


def _check_signature(file: Path) -> None:
    """Compare how a file begins with what its name says.

    Raises:
        InputError: it is compressed, a spreadsheet or in parquet, and its name says otherwise, or the other way round.
    """
    with file.open("rb") as raw:
        start = raw.read(4096)
    name, zipped = shown(file), file.suffix == ".gz"
    if start.startswith(b"\x1f\x8b") and not zipped:
        raise InputError(f"{name} is compressed by gzip: call it {file.name}.gz")
    if start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise InputError(f"{name} is a spreadsheet or a zip archive: save its table as CSV")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise InputError(f"{name} is a web page: get the table itself, perhaps after signing in")
    if re.match(rb"\s*\+-[+-]+\+\s*\n|[^\n]*\|[^\n]*\n-+(\+-+)+\s*\n", start):
        raise InputError(f"{name} is what a database's shell shows on the screen: export the table as CSV")
    if start.startswith(b"version https://git-lfs"):
        raise InputError(f"{name} is a pointer of Git LFS, not the table: get it with `git lfs pull`")
    if start.startswith(b"PAR1") and file.suffix != ".parquet":
        raise InputError(f"{name} is in parquet: call it {file.name.removesuffix(file.suffix)}.parquet")
    if start and not start.startswith(b"PAR1") and file.suffix == ".parquet":
        raise InputError(f"{name} is not in parquet: call it .csv, .tsv or .jsonl, whichever it is")
    if start and zipped and not start.startswith(b"\x1f\x8b"):
        raise InputError(f"{name} is not compressed: call it {file.name.removesuffix('.gz')}")


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
    """Make a test of whether a record names columns: one of the names that are looked for is among them.

    Where columns are given by their places, one name could be a value by chance. So two are needed there, or what
    stands where the times are is none.
    """
    chosen = [name for name in recipe.columns.values() if isinstance(name, str)]
    places = [place for place in recipe.columns.values() if isinstance(place, int)]
    time = recipe.columns.get("timestamp")

    def is_header(record: Sequence[str]) -> bool:
        names = [name.strip() for name in record]
        known = [name for name in names if columns.role_of(name) or columns.plain(name) == "id" or name in chosen]
        if not places:
            return bool(known)
        first_time = names[time - 1] if isinstance(time, int) and 1 <= time <= len(names) else None
        return len(known) > 1 or bool(first_time and not times.is_time(first_time, recipe.time_format))

    return is_header


def flattened(frame: pl.DataFrame, where: str, *, timed: bool = False) -> pl.DataFrame:
    """Turn every column into text, lists and sections into their parts; with `timed` all but points in time.

    Raises:
        InputError: a column holds what is no text.
    """
    changed = []
    for column in frame.get_columns():
        kind = column.dtype
        if column.name == LINE or kind == pl.String:
            continue
        if kind.is_nested():
            texts = [lines.plain(value) for value in column.to_list()]
            changed.append(pl.Series(column.name, texts, pl.String))
        elif kind == pl.Binary:
            changed.append(_text_of_bytes(column, where))
        elif kind == pl.Object:
            raise InputError(f"{where}: the column '{column.name[:60]}' holds objects, no text: leave it out")
        elif timed and columns.role_of(column.name) == "timestamp":
            continue
        elif kind.is_float():
            column = column.fill_nan(None)  # pandas has NaN for what is missing, and then 1.0 for 1
            whole = ((column.drop_nulls() % 1 == 0) & (column.drop_nulls().abs() < 2**53)).all()
            changed.append((column.cast(pl.Int64) if whole else column).cast(pl.String))
        else:
            changed.append(column.cast(pl.String))
    frame = frame.with_columns(changed)
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    return frame.with_columns(pl.col(texts).replace("", None)) if texts else frame


def _text_of_bytes(column: pl.Series, where: str) -> pl.Series:
    """Take bytes for text if all of them are, or write ids of another kind, such as UUIDs, in hexadecimal digits.

    Raises:
        InputError: a column of no ids holds bytes that are no text.
    """
    try:
        text = column.cast(pl.String)
        if not text.str.contains(r"[\p{Cc}\p{Cn}\p{Co}]").any():
            return text
    except pl.exceptions.PolarsError:
        pass
    if columns.role_of(column.name) in ("user_id", "item_id"):
        note(f"{where}: '{column.name[:60]}' holds bytes, which are written in hexadecimal digits")
        return column.bin.encode("hex")
    raise InputError(f"{where}: the column '{column.name[:60]}' holds bytes, no text: leave it out")


def _parquet(file: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(file).with_row_index(LINE, offset=1).with_columns(pl.col(LINE).cast(pl.Int64))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{shown(file)} cannot be read ({reason(error)}): correct it") from None


def _json(file: Path) -> tuple[pl.DataFrame, Literal["line", "row"]]:
    """Read JSON lines, or a list of JSON objects: numbers as they are written, lists and sections as text."""
    _, start = next(lines.numbered(file), (1, b""))
    is_list = start.lstrip().startswith(b"[")
    if not is_list:
        _check_one_object_a_line(file, start)
    rows = enumerate(_json_list(file), start=1) if is_list else lines.parsed_with_lines(file, lines.json_object)
    chunks = []
    while chunk := list(islice(rows, lines.CHUNK)):
        names = list(dict.fromkeys(name for _, fields in chunk for name in fields))
        cells = {name: [lines.plain(fields.get(name)) for _, fields in chunk] for name in names}
        numbers = pl.Series(LINE, [number for number, _ in chunk], pl.Int64)
        chunks.append(pl.DataFrame([numbers, *(pl.Series(name, cells[name], pl.String) for name in names)]))
    if not is_list and len(chunks) == 1 and chunks[0].height == 1:
        _check_record(file)
    frame = pl.concat(chunks, how="diagonal") if chunks else pl.DataFrame(schema={LINE: pl.Int64})
    return frame, "row" if is_list else "line"


def _check_one_object_a_line(file: Path, first: bytes) -> None:
    """Check that objects stand on lines of their own.

    Raises:
        InputError: the first one goes over several lines, or several stand on the first line.
    """
    opened = first.decode("utf-8", "replace").strip()
    if opened in ("{", "{ ") or (opened.startswith("{") and "}" not in opened):
        raise InputError(
            f"{shown(file)} has JSON objects over several lines: write a list of them, or one object a line "
            "(`jq -c '.[]' FILE`, or `jq -c .` for objects one after the other)"
        )
    if re.search(r"\}\s*\{", opened):
        raise InputError(f"{shown(file)} has several JSON objects on a line: write one a line (`jq -c . FILE`)")


def _check_record(file: Path) -> None:
    """Check that the only object of a file is a record, and does not hold all of them.

    Raises:
        InputError: it holds them.
    """
    (fields,) = lines.parsed(file, lines.json_object, lambda fields: fields)
    roles = {name: columns.role_of(name) for name in fields}
    nested = [name for name, value in fields.items() if isinstance(value, dict | list)]
    if nested and (not any(roles.values()) or any(roles[name] in ("user_id", "item_id") for name in nested)):
        raise InputError(f"{shown(file)} is one JSON object, no list of records: write an object for each row")


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
    return (
        len(values) > 0
        and values.null_count() == 0
        and values.eq(pl.int_range(values[0], values[0] + len(values), eager=True)).all()
    )


def table_of(frame: pl.DataFrame, called: str) -> Table:
    """Make a table of a frame that is no file, all columns as text.

    Raises:
        InputError: a column holds what is no text.
    """
    return Table(Path(called), flattened(frame, called).with_row_index(LINE, offset=1), counted="row")


def cut_short(text: str, most: int = 60) -> str:
    """Cut what a message repeats of a file."""
    return text if len(text) <= most else text[:most] + "…"
