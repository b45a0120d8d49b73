"""What is valid and still looks wrong: it is read, and said."""

import re
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from llmesr.notes import note
from llmesr.paths import shown
from llmesr.prepare.sources import columns
from llmesr.prepare.sources.tables import ENDINGS, Table, cut_short

LISTED = r"^[^\s;,|]+(\s*[;,|]\s*[^\s;,|]+)+$"
"""Several words with separators between them."""
ID = r"^[\w.:-]*\d[\w.:-]*$"
NOBODY = ("na", "unknown", "anonymous", "anon", "guest", "0", "-1", "none", "nobody", "other", "test")
"""What is often written, as an id, for users who are not known."""
FEEDBACK_NAMES = (
    "label click clicked liked purchased bought event eventtype eventname action actiontype behavior behaviour type "
    "interaction interactiontype status orderstatus state quantity qty amount count rating score stars overall"
)
FEEDBACK = set(FEEDBACK_NAMES.split())
"""Columns, as `columns.plain` writes them, whose values may say that a row is no purchase at all."""
EARLY = 10_000
"""Times with decimals that begin earlier are no days since 1900 or 1970, as spreadsheets and R count them."""
MOST_KINDS = 30
"""A column of text with more different values names no kinds of events."""


def said_of_interactions(table: Table) -> None:
    """Say what looks wrong in a table of interactions."""
    _several_items_in_a_cell(table)
    _capitals(table)
    _placeholders(table)
    _feedback(table)
    _doubled(table)


def _several_items_in_a_cell(table: Table) -> None:
    items = table.frame["item_id"].unique()
    lists = items.filter(items.str.contains(r"\w\s*[;,|]\s*\w"))
    parts = lists.str.replace_all(r"\s*[;|]\s*", ",").str.split(",").explode().str.strip_chars()
    ids = lists.str.contains(LISTED).all() and parts.str.contains(ID).all()
    if len(lists) > len(items) / 5 and (ids or parts.n_unique() < len(lists)):
        note(f"item ids such as '{cut_short(lists[0])}' look like several items in a cell: write a row for each")


def _capitals(table: Table) -> None:
    users = table.frame["user_id"].unique()
    if same := len(users) - users.str.to_lowercase().n_unique():
        note(f"{same} user ids of {shown(table.file)} differ from another in capitals only: write them alike")


def _placeholders(table: Table) -> None:
    """Say if the busiest user seems to stand for all who are not known."""
    counts = table.frame["user_id"].value_counts(sort=True)
    for user, count in counts.head(3).iter_rows():
        if user.lower() in NOBODY and count > 2 * counts["count"].median():
            note(
                f"user '{cut_short(user)}' has {count:,} of {table.frame.height:,} interactions and may stand for "
                "everybody who is not known: leave these rows out if so"
            )


def _feedback(table: Table) -> None:
    """Say if a column seems to tell kinds of rows apart, since every row counts as an interaction."""
    for name in table.names:
        last = re.split(r"[\W_]+", columns.TYPES.sub("", name))[-1].lower()  # as in `Lineitem quantity`
        if not {columns.plain(name), last} & FEEDBACK:
            continue
        values = table.frame[name].drop_nulls().cast(pl.String).str.strip_chars()
        numbers = values.cast(pl.Float64, strict=False)
        if len(values) and not numbers.null_count():
            below = int((numbers <= 0).sum())
            if below:
                note(
                    f"{below:,} of {table.frame.height:,} rows have a '{cut_short(name)}' of 0 or less, and count as "
                    "interactions like all others: leave them out if they are none"
                )
        elif 1 < values.n_unique() <= MOST_KINDS:
            kinds = ", ".join(f"'{cut_short(kind, 30)}'" for kind in values.value_counts(sort=True)[name].head(4))
            note(
                f"every row counts as an interaction, whatever '{cut_short(name)}' says ({kinds}): leave out the rows "
                "that are none"
            )


def _doubled(table: Table) -> None:
    """Say if rows are there twice, which an export may have done."""
    if "timestamp" in table.names and (doubled := int(table.frame.select(table.names).is_duplicated().sum())):
        note(f"{doubled:,} rows of {shown(table.file)} are there several times: delete them if the export did that")


def said_of_dates(table: Table, order: str) -> None:
    """Say if times seem to be those of the items, such as a year of release.

    Args:
        table: of interactions.
        order: what `columns` says of times to take the order of the rows.
    """
    per_item = table.frame.group_by("item_id").agg(pl.col("timestamp").n_unique(), pl.len())
    if per_item.height > 1 and per_item["timestamp"].max() == 1 and table.frame.height > 2 * per_item.height:
        note(
            f"all rows of an item have the same time in {shown(table.file)}: if it is the item's own date, set "
            f"'columns: {{timestamp: {order}}}' for this dataset to take the order of the rows"
        )


def said_of_durations(table: Table, name: str, order: str) -> None:
    """Say if a column that is called like a time seems to hold durations: small numbers with decimals.

    Args:
        table: of interactions.
        name: the column that is taken for times.
        order: what `columns` says of times to take the order of the rows.
    """
    numbers = table.frame[name].cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
    if len(numbers) and not numbers.null_count() and numbers.min() < EARLY and (numbers % 1 != 0).any():
        note(
            f"'{cut_short(name)}' of {shown(table.file)} is taken for times, and has numbers such as "
            f"{numbers.filter(numbers % 1 != 0)[0]:g}: if they are durations, take the order of the rows by setting "
            f"'columns: {{timestamp: {order}}}' for this dataset"
        )


def said_of_titles(titles: pl.Series, file: Path) -> None:
    """Say if texts seem to have been encoded twice, as `CafÃ©` for `Café`."""
    special = [title for title in titles.drop_nulls().unique(maintain_order=True) if not title.isascii()]
    mended = {title: meant for title in special if (meant := _decoded_again(title)) is not None}
    if len(mended) > len(special) / 2:
        title, meant = next(iter(mended.items()))
        note(
            f"{len(mended)} titles of {shown(file)} look as if they had been encoded twice ('{cut_short(title)}' for "
            f"'{cut_short(meant)}'): export the table again as UTF-8"
        )


def _decoded_again(text: str) -> str | None:
    """Read text as UTF-8 that was taken for Windows-1252; None if it is not that."""
    try:
        return text.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return None


def said_of_unread(folder: Path, read: Iterable[Path]) -> None:
    """Name the tables of a folder that are not read."""
    used = {file.name for file in read} | {f"{name}{ending}" for name in ("triples", "links") for ending in ENDINGS}
    there = [file.name for file in sorted(folder.glob("*")) if file.is_file() and file.name[0] != "."]
    left = [name for name in there if name.endswith(ENDINGS) and name not in used]
    left = [name for name in left if not re.match(r"readme|licen[cs]e|requirements", name, re.I)]
    if left:
        names = ", ".join(left[:8]) + (", …" if len(left) > 8 else "")
        note(f"{shown(folder)}: {names} {'is' if len(left) == 1 else 'are'} not read: move what belongs to it together")
