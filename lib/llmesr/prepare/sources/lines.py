"""Big raw files, read a line at a time: only the columns that are needed stay in memory, in compact chunks.

A bad line stops with its number. An item without a line of its own, or without a title, gets the title
`unknown`, so that no interaction is lost. HTML is left to the prompts, which clean every attribute.
"""

import ast
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import polars as pl

from llmesr.errors import InputError
from llmesr.paths import shown

ENDINGS = (".json.gz", ".json", ".jsonl.gz", ".jsonl")
CHUNK = 100_000
"""Lines that are held as Python objects before they become a frame."""
LINE = "__line__"
"""The column that says which line or row of the file a row is."""
UNKNOWN = "unknown"

Fields = dict[str, Any]
Parsed = TypeVar("Parsed")
Row = TypeVar("Row")


def find(folder: Path, accepts: Callable[[str], bool], expected: str) -> Path:
    """Find the one file of JSON lines whose name is accepted.

    Args:
        folder: the dataset's.
        accepts: says of a file's name whether it may be the one.
        expected: its name, as it is told when there is none.

    Raises:
        InputError: there is none, or more than one.
    """
    files = [file for file in sorted(folder.glob("*")) if file.name.endswith(ENDINGS) and file.name[0] != "."]
    found = [file for file in files if accepts(file.name)]
    if not found:
        raise InputError(f"{shown(folder)} has no {expected} ({', '.join(ENDINGS)}): put the file there")
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise InputError(f"{shown(folder)} has more than one {expected} ({names}): leave only one of them there")
    return found[0]


def numbered(file: Path) -> Iterator[tuple[int, bytes]]:
    """Yield each line that is not blank, with its number from 1.

    Raises:
        InputError: the file cannot be read or its compressed part ends too early.
    """
    number = 0
    try:
        # a GzipFile hands out lines in Python; the buffer around it does so in C
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as raw:
            for number, line in enumerate(io.BufferedReader(raw, 1 << 20), start=1):
                line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line  # a mark that some editors write
                if line and not line.isspace():
                    yield number, line
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(f"{shown(file)} is damaged after line {number} ({error}): get it again") from None


def parsed(
    file: Path, parse: Callable[[bytes], Parsed], row: Callable[[Parsed], Row | None], skip: int = 0
) -> Iterator[Row]:
    """Yield what becomes of each line, but for those that become None.

    Args:
        file: one record a line.
        parse: turns a line into fields; a ValueError says what is wrong with it.
        row: turns fields into what is needed; a KeyError names a missing field, a ValueError says what is wrong.
        skip: so many lines of header are left out.

    Raises:
        InputError: a line is malformed; the message names file and line.
    """
    for number, line in numbered(file):
        if number <= skip:
            continue
        try:
            result = row(parse(line))
        except KeyError as absent:
            raise InputError(f"{shown(file)}, line {number} lacks the field {absent}: add it or delete it") from None
        except ValueError as problem:
            raise InputError(f"{shown(file)}, line {number}: {problem}: correct the line or delete it") from None
        if result is not None:
            yield result


def parsed_with_lines(file: Path, parse: Callable[[bytes], Parsed]) -> Iterator[tuple[int, Parsed]]:
    """Yield each line's number and what it holds.

    Raises:
        InputError: a line is malformed; the message names file and line.
    """
    for number, line in numbered(file):
        try:
            yield number, parse(line)
        except ValueError as problem:
            raise InputError(f"{shown(file)}, line {number}: {problem}: correct the line or delete it") from None


def collect(rows: Iterable[tuple], schema: Mapping[str, Any]) -> pl.DataFrame:
    """Gather rows in a frame, chunk by chunk, so that few of them are Python objects at a time."""
    rows = iter(rows)
    chunks = [pl.DataFrame(schema=schema)]
    while chunk := list(islice(rows, CHUNK)):
        columns = zip(schema.items(), zip(*chunk, strict=True), strict=True)
        chunks.append(pl.DataFrame([pl.Series(name, values, kind) for (name, kind), values in columns]))
    return pl.concat(chunks, rechunk=False)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"malformed JSON, {name} is no number of JSON")


_JSON = json.JSONDecoder(parse_constant=_no_number)


def json_object(line: bytes) -> Fields:
    """Parse a line of JSON."""
    try:
        fields = _JSON.decode(line.decode("utf-8"))
        if (
            b"\\ud" in line or b"\\uD" in line
        ):  # half a surrogate pair is a valid escape, but no text that can be stored
            json.dumps(fields, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        raise ValueError(f"malformed JSON, {error.msg} at character {error.pos + 1}") from None
    except UnicodeError as error:
        raise ValueError(f"malformed JSON, {error.reason}") from None
    except RecursionError:
        raise ValueError("malformed JSON, too many lists in lists") from None
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")
    return fields


def python_object(line: bytes) -> Fields:
    """Parse a line that is a Python dict as `repr` wrote it; nothing in it is run."""
    try:
        fields = ast.literal_eval(line.decode("utf-8").strip())
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError("malformed Python literal") from None
    if not isinstance(fields, dict):
        raise ValueError("not a Python dict")
    return fields


def identity(fields: Fields, name: str) -> str:
    """Read an id, which must not be empty."""
    value = fields[name]
    text = str(value).strip() if isinstance(value, str | int) else ""
    if not text:
        raise ValueError(f"the field '{name}' is {value!r}, not an id")
    return text


def whole(fields: Fields, name: str) -> int:
    """Read a whole number, such as a point in time."""
    value = fields[name]
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = 1 << 63
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f"the field '{name}' is {value!r}, not a whole number")
    return number


def rating(fields: Fields, name: str) -> float | None:
    """Read a rating, which may be missing: nothing depends on it."""
    value = fields.get(name)
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        raise ValueError(f"the field '{name}' is {value!r}, not a number") from None


def plain(value: object) -> str | None:
    """Turn any attribute into one text: the distinct parts of lists in lists, or "key: value" of a dict, with commas.

    Returns:
        None if nothing is left.
    """
    return ", ".join(dict.fromkeys(_parts(value))) or None


def _parts(value: object) -> Iterator[str]:
    if isinstance(value, list | tuple):
        for part in value:
            yield from _parts(part)
    elif isinstance(value, dict):
        yield from (f"{key}: {text}" for key, part in value.items() if (text := plain(part)))
    # half a surrogate pair, which only a Python literal can hold, is no text that can be stored
    elif value is not None and (text := str(value).encode(errors="replace").decode().strip()):
        yield text


@dataclass(frozen=True)
class Reviews:
    """Which field of a review means what, and how its time is read."""

    user: str
    item: str
    time: str
    rating: str
    text: str
    clock: Callable[[Fields, str], Any] = whole
    unit: pl.DataType | type[pl.DataType] = pl.Int64


def interactions(file: Path, meaning: Reviews, with_text: bool) -> pl.DataFrame:
    """Read reviews as interactions, repeats included.

    Raises:
        InputError: a line is malformed or lacks user, item or time; the message names it.
    """
    schema = {"user_id": pl.String, "item_id": pl.String, "timestamp": meaning.unit, "rating": pl.Float32}
    if with_text:
        schema["text"] = pl.String

    def row(fields: Fields) -> tuple:
        kept = (
            identity(fields, meaning.user),
            identity(fields, meaning.item),
            meaning.clock(fields, meaning.time),
            rating(fields, meaning.rating),
        )
        return (*kept, plain(fields.get(meaning.text))) if with_text else kept

    return collect(parsed(file, json_object, row), schema)


def catalogue(
    file: Path,
    wanted: pl.Series,
    identifier: str,
    columns: Mapping[str, str],
    parse: Callable[[bytes], Fields] = json_object,
    clean: Mapping[str, Callable[[str], str | None]] | None = None,
) -> pl.DataFrame:
    """Read the attributes of the items that occur; of several lines with one id the first counts.

    Args:
        file: metadata, one item a line.
        wanted: the item ids of all interactions.
        identifier: the field of the item's id.
        columns: the field of each column to be made, `title` among them.
        parse: reads a line.
        clean: for some columns, what becomes of a text.

    Raises:
        InputError: a line is malformed or lacks the id; the message names it.
    """
    missing = set(wanted.unique())
    cleaners = clean or {}

    def row(fields: Fields) -> tuple | None:
        item = identity(fields, identifier)
        if item not in missing:
            return None
        missing.remove(item)
        texts = {column: plain(fields.get(field)) for column, field in columns.items()}
        return item, *(cleaners[name](text) if text and name in cleaners else text for name, text in texts.items())

    schema = dict.fromkeys(("item_id", *columns), pl.String)
    return complete(collect(parsed(file, parse, row), schema), wanted, pl.lit(UNKNOWN))


def complete(items: pl.DataFrame, wanted: pl.Series, title: pl.Expr) -> pl.DataFrame:
    """Add the items that occur in interactions but not here, and give `title` to those that have none."""
    lost = pl.DataFrame({"item_id": wanted.unique().sort()}).join(
        items, on="item_id", how="anti", maintain_order="left"
    )
    return pl.concat([items, lost], how="diagonal").with_columns(pl.col("title").fill_null(title))
