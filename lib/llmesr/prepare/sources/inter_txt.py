"""The format in which LLM-ESR's authors released their data: `inter.txt`, a user and an item a line, in time order.

Files of other projects that hold a user and all its items a line are read as well.
Ids are whole numbers. Texts of items may lie beside it, as in the table format: `items.csv`, `.jsonl` or `.parquet`
with `item_id,title[,…]`.
"""

import re
from itertools import islice
from pathlib import Path

import polars as pl

from llmesr.errors import InputError
from llmesr.notes import note
from llmesr.paths import shown
from llmesr.prepare.sources import files, lines, table
from llmesr.settings import DatasetSettings

SAMPLE = 1000
"""Lines that are looked at to recognise what they hold."""


def load(folder: Path, recipe: DatasetSettings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Load each line as an interaction whose time is its place in the file, or a user with all items in time order.

    An item without a title, or all if there is no table of items, is called by its number, such as `item 17`.

    Raises:
        InputError: the file is missing, a line is not two whole numbers, or the table of items is bad.
    """
    file = interactions_file(folder)
    if file is None:
        raise InputError(f"{shown(folder / 'inter.txt')} is missing: put it there, one 'user item' pair a line")
    row = _history if has_histories(file) else _pair
    pairs = lines.parsed(file, bytes.split, row)
    schema = dict.fromkeys(("user_id", "item_id"), pl.String)
    interactions = lines.collect((pair for found in pairs for pair in found), schema)
    interactions = interactions.with_columns(pl.int_range(1, pl.len() + 1).alias("timestamp"))
    items_file = files.named(folder, "items")
    if items_file:
        items = table.read_items(items_file)
    else:
        note(
            f"there is no table of items ({shown(folder / 'items')}.csv): items are called by their numbers, "
            "from which a language model learns nothing"
        )
        items = pl.DataFrame(schema=dict.fromkeys(("item_id", "title"), pl.String))
    return interactions, lines.complete(items, interactions["item_id"], pl.format("item {}", "item_id"))


def interactions_file(folder: Path) -> Path | None:
    """Find `inter.txt`, or the only other file that holds nothing but whole numbers."""
    if (folder / "inter.txt").exists():
        return folder / "inter.txt"
    files = [file for file in sorted(folder.glob("*.txt")) if not re.match(r"readme|\.", file.name, re.I)]
    if len(files) != 1:
        return None
    first = [line.split() for _, line in islice(lines.numbered(files[0]), SAMPLE)]
    whole = first and all(len(parts) > 1 and all(part.isdigit() for part in parts) for parts in first)
    return files[0] if whole else None


def has_histories(file: Path) -> bool:
    """Whether each line is a user with all items: the lines are of different lengths, all of two numbers at least."""
    widths = {len(line.split()) for _, line in islice(lines.numbered(file), SAMPLE)}
    return len(widths) > 1 and min(widths) > 1 and max(widths) > 3


def _pair(parts: list[bytes]) -> list[tuple[str, str]]:
    if len(parts) != 2:
        raise ValueError(f"'{_shown(parts)}' is not two whole numbers")
    return _history(parts)


def _history(parts: list[bytes]) -> list[tuple[str, str]]:
    if len(parts) < 2 or not all(part.isdigit() for part in parts):
        raise ValueError(f"'{_shown(parts)}' is not two whole numbers")
    user, *items = (str(int(part)) for part in parts)
    return [(user, item) for item in items]


def _shown(parts: list[bytes]) -> str:
    return b" ".join(parts)[:60].decode(errors="replace")
