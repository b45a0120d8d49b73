"""The format in which LLM-ESR's authors released their data: `inter.txt`, a user and an item a line, in time order.

Ids are whole numbers. Texts of items may lie beside it, as in the table format: `items.csv`, `.jsonl` or `.parquet`
with `item_id,title[,…]`.
"""

from pathlib import Path

import polars as pl

from llmesr.errors import InputError
from llmesr.paths import shown
from llmesr.prepare.sources import lines, table
from llmesr.settings import DatasetSettings


def load(folder: Path, recipe: DatasetSettings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Load each line as an interaction whose time is its place in the file.

    An item without a title, or all if there is no table of items, is called by its number, such as `item 17`.

    Raises:
        InputError: the file is missing, a line is not two whole numbers, or the table of items is bad.
    """
    file = folder / "inter.txt"
    if not file.exists():
        raise InputError(f"{shown(file)} is missing: put it there, one 'user item' pair a line")
    pairs = lines.collect(lines.parsed(file, bytes.split, _pair), dict.fromkeys(("user_id", "item_id"), pl.String))
    interactions = pairs.with_columns(pl.int_range(1, pl.len() + 1).alias("timestamp"))
    items_file = table.found(folder, "items", table.ITEMS)
    if items_file:
        items = table.read_items(items_file)
    else:
        items = pl.DataFrame(schema=dict.fromkeys(("item_id", "title"), pl.String))
    return interactions, lines.complete(items, interactions["item_id"], pl.format("item {}", "item_id"))


def _pair(parts: list[bytes]) -> tuple[str, str]:
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        raise ValueError(f"'{b' '.join(parts).decode(errors='replace')}' is not two whole numbers")
    return str(int(parts[0])), str(int(parts[1]))
