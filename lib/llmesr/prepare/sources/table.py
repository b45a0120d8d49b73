"""The plain table format, for anybody's data: who had what, when; and what is known of items, users and texts.

`interactions`: `user_id,item_id,timestamp[,rating]`. `items`: `item_id,title[,…]`; every other column is an attribute
for the prompt. `users`, which may be missing: `user_id[,…]`; attributes for audits, which no model sees. `texts`, which
may be missing: `user_id,item_id,timestamp,text`; what users wrote. Each may be delimited text, JSON lines or parquet,
and its columns may have the names that people use (`columns.py`). Ties in time keep the order of the file.
"""

import re
from pathlib import Path
from typing import NoReturn

import polars as pl

from llmesr.errors import InputError
from llmesr.notes import note
from llmesr.paths import shown
from llmesr.prepare.sources import columns, doubts, files, times
from llmesr.prepare.sources.lines import LINE
from llmesr.prepare.sources.tables import Table, cut_short, read
from llmesr.prepare.titles import NAME
from llmesr.settings import DatasetSettings

NO_ID = ["", "NULL", "null", "(null)", "nil", "None", "nan", "NaN", "<NA>", "\\N", "(not set)", "undefined", "-", "?"]
NO_ID += ["N/A", "n/a", "#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!"]
NO_ID += ["00000000-0000-0000-0000-000000000000"]
"""What databases, pandas, spreadsheets and web statistics write where there is no id."""
INVISIBLE = "[\u200b\u200c\u200d\u2060\ufeff]"
"""Signs without width, which come along when ids are copied."""
NOTHING = ["NULL", "null", "nan", "NaN", "<NA>", "\\N", "N/A", "n/a"]
"""What databases and pandas write where an item has no such attribute."""
ROWS = "rows"
"""In `columns`, instead of a column of times: the order of the rows."""
HOURS = ("hour", "hourofday", "orderhourofday")
"""Columns of hours, as `columns.plain` writes them."""
ROUNDED = r"^\d(\.\d+)?[eE]\+\d+$"
"""A long number as spreadsheets show and save it."""
RESERVED = {"item", "count", "tail", "group", "attributes"}
"""Columns that the pipeline adds to items, and the template's word for all attributes."""


def load(
    folder: Path, recipe: DatasetSettings
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame | None, pl.DataFrame | None]:
    """Load and check the tables of a folder.

    Raises:
        InputError: a file or column is missing or could be several, a file or row cannot be read, an item id occurs
            twice, an item has no text, or an interaction names an unknown item; the message names file and row.
    """
    parts = files.of_interactions(folder, recipe)
    table = read_interactions(parts, recipe)
    items_file = files.of_items(folder, recipe)
    if items_file:
        items = read_items(items_file, recipe)
        unknown = ~table.frame["item_id"].is_in(items["item_id"].implode())
        if unknown.any():
            _refuse_unknown(table, unknown, items, items_file)
    else:
        items = _items_of(table, recipe)
    doubts.said_of_titles(items["title"], items_file or table.file)
    users_file = files.of_users(folder)
    users = read_users(users_file, recipe) if users_file else None
    texts_file = files.named(folder, "texts")
    texts = read_texts(texts_file, recipe) if texts_file and recipe.texts else None
    interactions = table.frame.select("user_id", "item_id", "timestamp")
    for one, file, key in (
        (users, users_file, "user_id"),
        (texts, texts_file, "user_id"),
        (texts, texts_file, "item_id"),
    ):
        if one is not None and one.height and not one[key].is_in(interactions[key].implode()).any():
            note(
                f"no {key} of {shown(file)} ('{cut_short(one[key][0])}') occurs in {table.file.name}: write them alike"
            )
    doubts.said_of_unread(folder, [*parts, *filter(None, (items_file, users_file, texts_file))])
    if texts is not None and texts.height and not _comparable(texts, interactions):
        kinds = [str(frame.schema["timestamp"]) for frame in (texts, interactions)]
        raise InputError(
            f"{shown(texts_file)} has times as {kinds[0]}, {table.file.name} as {kinds[1]}: write both alike"
        )
    return interactions, items, users, texts


def _comparable(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    """Whether times are numbers in both, or dates in both."""
    kinds = [frame.schema["timestamp"] for frame in (one, other)]
    return all(kind.is_numeric() for kind in kinds) or all(kind.is_temporal() for kind in kinds)


# --- the interactions ---


def read_interactions(found: list[Path], recipe: DatasetSettings) -> Table:
    """Read who had what: `user_id`, `item_id`, `timestamp`, and further columns as they are.

    Args:
        found: the table, or its parts in their order, as `files.of_interactions` finds them.
        recipe: of the dataset.

    Raises:
        InputError: a column or row is at fault.
    """
    _refuse_a_column_twice(recipe)
    parts = [read(file, recipe, timed=True) for file in found]
    parts = [_with_ids(_with_one_time(part, recipe), ("user_id", "item_id"), recipe) for part in parts]
    parts = [_with_times(part, recipe) for part in parts]
    whole = parts[0]
    if len(parts) > 1:
        note(
            f"{shown(whole.file.parent)}: {', '.join(part.file.name for part in parts)} are read as parts of one table"
        )
        whole = whole.with_frame(pl.concat([part.frame for part in parts], how="diagonal_relaxed"))
    timeless = [part for part in parts if "timestamp" not in part.names]
    doubts.said_of_interactions(whole)
    if not timeless:
        doubts.said_of_dates(whole, ROWS)
        return whole
    if len(timeless) < len(parts):
        raise InputError(f"{_lacks(timeless[0], 'timestamp', None)}, or leave it out of all parts")
    note(f"{shown(whole.file)} has no times (no column 'timestamp'): the order of its rows is taken for that")
    return whole.with_frame(whole.frame.with_columns(pl.int_range(1, pl.len() + 1).alias("timestamp")))


def _refuse_a_column_twice(recipe: DatasetSettings) -> None:
    """Check that `columns` gives every column one meaning.

    Raises:
        InputError: it gives one two.
    """
    meanings: dict[str | int, str] = {}
    for role, column in recipe.columns.items():
        if column in meanings:
            raise InputError(f"'columns' says that '{column}' is both {meanings[column]} and {role}: name two columns")
        meanings[column] = role


def _with_times(table: Table, recipe: DatasetSettings) -> Table:
    """Read the column of times, if there is one."""
    time = columns.find(table.names, "timestamp", recipe.columns, shown(table.file))
    if time is not None:
        doubts.said_of_durations(table, time, ROWS)
        frame = _named(table.frame, time, "timestamp")
        return table.with_frame(frame.with_columns(_times(table.with_frame(frame), recipe)))
    asked = recipe.columns.get("timestamp")
    if asked == ROWS:
        return table
    if asked is not None:
        taken = {"user_id": "user", "item_id": "item"}
        for role, what in taken.items():
            if columns.role_of(str(asked)) == role:
                raise InputError(
                    f"'columns' says that '{asked}' of {shown(table.file)} holds times, and it is the {what}'s id: "
                    f"name the column of times (there are {cut_short(', '.join(table.names), 200)})"
                )
        raise InputError(_lacks(table, "timestamp", asked))
    _ask_about_dates(table)
    return table


def _with_one_time(table: Table, recipe: DatasetSettings) -> Table:
    """Join a column of days and one of times of day, or of hours."""
    both = {columns.plain(name): name for name in table.names if columns.role_of(name) == "timestamp"}
    hours = [name for name in table.names if columns.plain(name) in HOURS]
    if "timestamp" in recipe.columns:
        return table
    if set(both) == {"date", "time"}:
        of_day = pl.col(both["time"])
    elif set(both) == {"date"} and len(hours) == 1 and _are_hours(table.frame[hours[0]]):
        both["hour"] = hours[0]
        of_day = pl.format("{}:00", pl.col(hours[0]).cast(pl.String).str.strip_chars().str.zfill(2))
    else:
        return table
    whole = pl.concat_str([pl.col(both["date"]), of_day], separator=" ")
    return table.with_frame(table.frame.with_columns(whole.alias("timestamp")).drop(both.values()))


def _are_hours(column: pl.Series) -> bool:
    """Whether a column holds whole hours of a day, and nothing is missing."""
    return bool(column.cast(pl.String).str.contains(r"^\s*([01]?\d|2[0-3])\s*$").fill_null(value=False).all())


def _refuse_unknown(table: Table, unknown: pl.Series, items: pl.DataFrame, items_file: Path) -> NoReturn:
    """Name an item that is not in the table of items, and what may be the cause.

    Raises:
        InputError: always.
    """
    _ask_about_forms(table, items["item_id"], items_file)
    used, name = table.frame["item_id"], cut_short(table.frame["item_id"].filter(unknown)[0])
    if items.is_empty():
        raise InputError(f"{shown(items_file)} has no rows: put the items there, or delete the file")
    known = set(items["item_id"])
    if all(part in known for part in re.split(r"\s*[;,|]\s*", used.filter(unknown)[0])):
        table.refuse(unknown, f"'{name}' looks like several items in a cell: write a row for each")
    for other in items.columns:
        if other != "item_id" and used.is_in(items[other].implode()).all():
            raise InputError(
                f"the items of {shown(table.file)} ('{cut_short(used[0])}') are in the column '{cut_short(other)}' of "
                f"{items_file.name}, and 'item_id' was taken from another one ('{cut_short(items['item_id'][0])}'): "
                f"call '{cut_short(other)}' item_id there"
            )
    if unknown.all():
        raise InputError(
            f"no item of {shown(table.file)} ('{name}') is in {items_file.name} ('{cut_short(items['item_id'][0])}' "
            "there): write the ids alike"
        )
    table.refuse(
        unknown,
        f"item '{name}' is not in {items_file.name}: add it there or delete the row ({unknown.sum()} rows like it)",
    )


def _ask_about_forms(table: Table, known: pl.Series, items_file: Path) -> None:
    """Name an id that is in both tables but for how it is written: zeros in front, decimals, capital letters.

    Raises:
        InputError: there is one.
    """
    forms = {_bare(item): item for item in known}
    unknown = table.frame["item_id"].unique(maintain_order=True)
    for item in unknown.filter(~unknown.is_in(known.implode())):
        if other := forms.get(_bare(item)):
            raise InputError(
                f"ids of items are written differently in {shown(table.file)} ('{cut_short(item)}') and in "
                f"{items_file.name} ('{cut_short(other)}'): write both alike"
            )


def _bare(item: str) -> str:
    """Reduce an id to what is left of it in whatever way tools write it."""
    return re.sub(r"\.0$", "", item).lstrip("0").lower()


def _ask_about_dates(table: Table) -> None:
    """Refuse to take the order of the rows for their times if a column of another name holds points in time.

    Raises:
        InputError: it does.
    """
    for name in table.names:
        column = table.frame[name]
        if name in ("user_id", "item_id"):
            continue
        sample = column.drop_nulls().head(100).cast(pl.String).str.strip_chars()
        if len(sample) and (column.dtype.is_temporal() or all(times.looks_like_time(text) for text in sample)):
            raise InputError(
                f"{shown(table.file)} has no column 'timestamp', but '{cut_short(name)}' holds points in time "
                f"('{sample[0]}'): set 'columns: {{timestamp: {cut_short(name)}}}' for this dataset, or "
                f"'columns: {{timestamp: {ROWS}}}' to take the order of the rows"
            )


def _items_of(table: Table, recipe: DatasetSettings) -> pl.DataFrame:
    """Make a table of items from interactions: their titles, and what is the same in all rows of an item."""
    title = columns.find(table.names, "title", recipe.columns, shown(table.file))
    others = [name for name in table.names if name not in {"user_id", "item_id", "timestamp", "rating", title}]
    others = [name for name in others if columns.role_of(name) not in {"rating", "text"} and name not in RESERVED]
    first = table.frame.unique("item_id", keep="first", maintain_order=True)
    if title is None and first["item_id"].str.contains(NAME).mean() > 0.5:
        note("there is no table of items: their ids look like names, and are taken for titles")
        return first.select("item_id", pl.col("item_id").alias("title"))
    if title is None:
        note(
            f"there is no table of items ({shown(table.file.parent / 'items')}.csv): items are called by their "
            "ids, from which a language model learns nothing"
        )
        return first.select("item_id", pl.format("item {}", "item_id").alias("title"))
    per_item = table.frame.group_by("item_id").agg(pl.col(others).drop_nulls().n_unique())
    same = [name for name in others if per_item[name].max() == 1]
    attributes = f", attributes from {', '.join(same)}" if same else ""
    note(f"there is no table of items: titles are read from '{title}' of {shown(table.file)}{attributes}")
    titles = table.frame.drop_nulls(title).unique(["item_id", title], keep="first", maintain_order=True)
    several = titles.filter(pl.col("item_id").is_duplicated())
    if several.height:
        item = several["item_id"][0]
        one, other = several.filter(pl.col("item_id") == item)[title][:2]
        if several["item_id"].n_unique() > first.height / 2 and "title" not in recipe.columns:
            raise InputError(
                f"'{title}' of {shown(table.file)} differs within {several['item_id'].n_unique()} of {first.height} "
                f"items ('{cut_short(one)}' and '{cut_short(other)}'), so it is no title of theirs: set "
                "'columns: {title: …}' for this dataset"
            )
        note(
            f"{several['item_id'].n_unique()} items have several titles ('{cut_short(item)}': '{cut_short(one)}' and "
            f"'{cut_short(other)}'): the first one counts"
        )
    titles = titles.unique("item_id", keep="first", maintain_order=True)
    first = first.select("item_id", *same).join(
        titles.select("item_id", pl.col(title).alias("title")), on="item_id", how="left", maintain_order="left"
    )
    return first.select("item_id", "title", *same)


# --- items, users, texts ---


def read_items(file: Path, recipe: DatasetSettings | None = None) -> pl.DataFrame:
    """Read and check the table of items: `item_id`, `title` and attributes, all of them text.

    Raises:
        InputError: it cannot be read, lacks a column, an item id occurs twice, or an item has no text.
    """
    recipe = recipe or DatasetSettings()
    return checked_items(read(file, recipe), recipe)


def checked_items(table: Table, recipe: DatasetSettings | None = None) -> pl.DataFrame:
    """Check a table of items, wherever it comes from, as `read_items` does.

    Raises:
        InputError: a column is missing, an item id occurs twice, or an item has no text.
    """
    recipe = _for_other_tables(recipe or DatasetSettings(), table)
    table = _with_ids(table, ("item_id",), recipe, also=("id",))
    title = columns.find(table.names, "title", recipe.columns, shown(table.file))
    if title is None:
        raise InputError(_lacks(table, "title", recipe.columns.get("title")))
    frame = _named(table.frame, title, "title")
    others = pl.exclude("item_id", "title", LINE)
    frame = frame.with_columns(pl.when(~others.str.strip_chars().is_in(NOTHING)).then(others))
    frame = frame.rename({name: columns.TYPES.sub("", name) for name in frame.columns})  # as RecBole calls them
    return _check_items(table.with_frame(frame))


def _check_items(table: Table) -> pl.DataFrame:
    """Check items, however they came: ids that are there and occur once, names that are free, some text for each.

    Raises:
        InputError: the row and what is wrong with it.
    """
    frame = table.frame
    if taken := RESERVED & set(table.names):
        raise InputError(
            f"{shown(table.file)} has a column '{min(taken)}', a name that is used here: rename the column"
        )
    double = frame["item_id"].is_duplicated()
    if double.any():
        table.refuse(
            double, f"item id '{cut_short(frame['item_id'].filter(double)[0])}' occurs twice: keep one of them"
        )
    texts = frame.select(pl.exclude("item_id", LINE).str.strip_chars().replace("", None))
    silent = texts.select(pl.all_horizontal(pl.all().is_null())).to_series()
    if silent.any():
        item = cut_short(frame["item_id"].filter(silent)[0])
        table.refuse(silent, f"item '{item}' has no text: give it a title or an attribute")
    return frame.drop(LINE)


def read_users(file: Path, recipe: DatasetSettings) -> pl.DataFrame:
    """Read and check the table of users' attributes.

    Raises:
        InputError: it cannot be read, lacks `user_id`, has a column of a name that is used here, or a user twice.
    """
    table = read(file, recipe)
    table = _with_ids(table, ("user_id",), _for_other_tables(recipe, table), also=("id",))
    frame = table.frame.rename({name: columns.TYPES.sub("", name) for name in table.frame.columns})
    if taken := {"user", "length", "tail", "group"} & set(frame.columns):
        raise InputError(f"{shown(file)} has a column '{min(taken)}', a name that is used here: rename the column")
    double = frame["user_id"].is_duplicated()
    if double.any():
        table.refuse(
            double, f"user id '{cut_short(frame['user_id'].filter(double)[0])}' occurs twice: keep one of them"
        )
    return frame.drop(LINE)


def read_texts(file: Path, recipe: DatasetSettings) -> pl.DataFrame:
    """Read and check the table of what users wrote; rows without a text are dropped.

    Raises:
        InputError: it cannot be read, lacks a column, or a timestamp is none.
    """
    table = _with_ids(read(file, recipe, timed=True), ("user_id", "item_id"), recipe)
    frame = table.frame
    for role in ("timestamp", "text"):
        column = columns.find(table.names, role, recipe.columns, shown(file))
        if column is None:
            raise InputError(_lacks(table, role, recipe.columns.get(role)))
        frame = _named(frame, column, role)
    frame = frame.with_columns(_times(table.with_frame(frame), recipe))
    return frame.select("user_id", "item_id", "timestamp", "text").drop_nulls("text")


# --- columns ---


def _for_other_tables(recipe: DatasetSettings, table: Table) -> DatasetSettings:
    """Leave out, if a table has names, what `columns` says of the interactions: places, and names that it lacks."""
    own = columns.among(recipe.columns, table.names)
    return recipe.model_copy(update={"columns": own}) if table.headed else recipe


def _with_ids(table: Table, roles: tuple[str, ...], recipe: DatasetSettings, also: tuple[str, ...] = ()) -> Table:
    """Give the columns of ids our names, and check that each row has them."""
    frame, names = table.frame, table.names
    positions = _positions(table) if not table.headed and not recipe.columns else {}
    for role in roles:
        column = positions.get(role) or columns.find(names, role, recipe.columns, shown(table.file), also)
        if column is None:
            raise InputError(_lacks(table, role, recipe.columns.get(role)))
        frame = _named(frame, column, role)
        given = frame[role].cast(pl.String).str.replace_all(INVISIBLE, "").str.strip_chars()
        given = given.str.replace(r'^="(.*)"$', "$1")  # as Excel keeps text
        nested = given.str.contains(r"^\w+: .+, \w+: ").fill_null(value=False)
        if len(nested) and nested.mean() > 0.5:  # a single one may be a title
            table.with_frame(frame).refuse(
                nested,
                f"'{role}' holds whole records ('{cut_short(given.filter(nested)[0], 40)}'), not ids: write a row for "
                "each record, with its id in a column of its own",
            )
        ids = given.set(given.is_in(NO_ID), None)
        if ids.null_count():
            written = f" ('{word}')" if (word := given.filter(ids.is_null())[0]) else ""
            advice = "fill it or delete the row"
            if ids.null_count() > 1:
                advice = (
                    f"so are {ids.null_count():,} of {len(ids):,} rows: fill them, from the row above where the table "
                    "leaves out what repeats, or delete them"
                )
            table.with_frame(frame).refuse(ids.is_null(), f"'{role}' is empty{written}: {advice}")
        rounded = ids.str.contains(ROUNDED)
        if rounded.any():
            found = ids.filter(rounded)[0]
            table.with_frame(frame).refuse(
                rounded,
                f"'{role}' is '{found}', a number that a spreadsheet has rounded, so several may have become one: "
                "export the table again with this column as text",
            )
        frame = frame.with_columns(ids.alias(role))
    if "timestamp" in positions:
        frame = _named(frame, positions["timestamp"], "timestamp")
    return table.with_frame(frame)


def _positions(table: Table) -> dict[str, str]:
    """Recognise the columns of a table of numbers without a header, and say so.

    Raises:
        InputError: they could mean several things.
    """
    width = len(table.names)
    numbers = [table.frame[name].cast(pl.Float64, strict=False) for name in table.names]
    late = [column.null_count() == 0 and column.len() and column.min() > 1e8 for column in numbers]
    found: dict[str, str] = {}
    if width == 2:
        found = {"user_id": "1", "item_id": "2"}
    elif width in (3, 4) and late[-1] and not any(late[:-1]):
        found = {"user_id": "1", "item_id": "2", "timestamp": str(width)}
    elif width == 3 and numbers[2].null_count() == 0 and numbers[2].min() >= 0 and numbers[2].max() <= 10:
        found = {"user_id": "1", "item_id": "2"}
    if not found and table.separator is not None and width == 1:
        raise InputError(
            f"{shown(table.file)} has a single column if it is split at 'separator: {table.separator!r}' (its first "
            f"line is '{cut_short(str(table.frame.row(0)[1]))}'): correct 'separator' for this dataset"
        )
    if not found:
        raise InputError(
            f"{shown(table.file)} has no header that names users and items (its first line is "
            f"'{cut_short(', '.join(map(str, table.frame.row(0)[1:])))}'): add one like 'user_id,item_id,timestamp', "
            "or say which column is which: set 'columns: {user_id: 1, item_id: 2, timestamp: 4}' for this dataset"
        )
    said = ", ".join(f"{column} is {role}" for role, column in found.items())
    note(f"{shown(table.file)} has no header: of its columns {said}; set 'columns' for this dataset if that is wrong")
    return found


def _named(frame: pl.DataFrame, column: str, role: str) -> pl.DataFrame:
    """Call a column by its role; another one of that name goes."""
    if column == role:
        return frame
    return frame.drop([name for name in frame.columns if name == role]).rename({column: role})


def _lacks(table: Table, role: str, asked: str | int | None) -> str:
    names = ", ".join(table.names[:12]) + (", …" if len(table.names) > 12 else "")
    name = asked if asked is not None else role
    said = f"{shown(table.file)} lacks the column '{name}' (it has {cut_short(names, 200)}): add it"
    in_settings = asked is None and table.file.suffix
    return said + (f", or say which one it is: set 'columns: {{{role}: …}}' for this dataset" if in_settings else "")


def _times(table: Table, recipe: DatasetSettings) -> pl.Series:
    """Read the column of times.

    Raises:
        InputError: a row has none that can be read.
    """
    column = table.frame["timestamp"]
    try:
        return times.read(column, recipe.time_format).alias("timestamp")
    except times.BadTimeError as bad:
        if column.is_null()[bad.row]:
            raise InputError(f"{table.at(bad.row)}: 'timestamp' is empty: fill it or delete the row") from None
        raise InputError(f"{table.at(bad.row)}: timestamp {bad}") from None
