"""`python -m llmesr.check data/my-shop`: what is understood of a dataset's raw files, before anything is computed.

Nothing is written, and the language model is not asked.
"""

import argparse
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from llmesr.errors import InputError
from llmesr.notes import end_with_the_reader, kept_notes, note
from llmesr.paths import from_root, shown
from llmesr.prepare import clean, prepared
from llmesr.prepare.dataset import OF_ITEMS
from llmesr.prepare.sources import Raw, files, load_raw, recognised, tables
from llmesr.settings import Settings, load

CARD = (
    ("users", "users"),
    ("items", "items"),
    ("interactions", "interactions"),
    ("average_length", "interactions a user, on average"),
    ("longest_user", "interactions of the busiest user"),
    ("tail_user_below", "input items: users with fewer are the long tail"),
    ("tail_item_below", "training interactions: items with fewer are the long tail"),
    ("items_with_the_text_of_another", "items with the same text as another one"),
)


WHERE = """
Settings for this dataset stand in {params}, under 'datasets' and the folder's name, such as
datasets:
  {name}:
    columns: {{user_id: Email, item_id: SKU, title: Product}}
"""


def settings_of(folder: str, params: str = "params.yaml") -> Settings:
    """Read the settings for a folder of raw files, or for a dataset that the settings name.

    Raises:
        InputError: the settings are at fault, or there is no such folder.
    """
    if not from_root(folder).is_dir() and "/" not in folder:
        settings = load(params, dataset=folder)
    else:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(folder).resolve().name).strip("-._")
        if name != Path(folder).resolve().name:
            note(f"a dataset's name has only letters, digits, '.', '_' and '-': call the folder '{name}'")
        if not name:
            raise InputError(f"{folder} is no name of a dataset: call the folder by letters or digits")
        if re.fullmatch(r"[\d.]+([eE][+-]?\d+)?", name):
            note(f"'{name}' is a number to YAML: call the folder otherwise, or write `dataset: \"{name}\"`")
        settings = load(params, dataset=name)
        settings = settings.changed({"data.folder": str(Path(folder).resolve())})
        found = recognised(settings.folder) if settings.folder.is_dir() else None
        if found and settings.data.format not in ("table", found):
            note(f"'datasets.{name}' is for the format '{settings.data.format}', but these are files of '{found}'")
            settings = settings.changed({"data.format": found})
    if not settings.folder.is_dir():
        raise InputError(f"{shown(settings.folder)} is no folder: name one with a dataset's raw files")
    return settings


def report(settings: Settings) -> Iterator[str]:
    """Say step by step what is understood; the last step is what later stages get.

    Raises:
        InputError: the files cannot be read, or leave nothing.
    """
    there = sorted(file for file in settings.folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    yield f"{shown(settings.folder)}: {len(there)} files"
    yield from (f"  {file.relative_to(settings.folder)}, {file.stat().st_size / 1e6:,.1f} MB" for file in there[:12])
    form = settings.data.format
    if form == "table" and not files.named(settings.folder, "interactions"):
        form = recognised(settings.folder) or form
    yield f"read as format '{form}'\n"
    raw = load_raw(settings.folder, settings.data)
    yield from _of_raw(raw)
    kept = clean(raw, settings.data)
    yield from _of_filters(raw, kept, settings)
    _, card = prepared(settings, raw, kept)
    yield "what later stages get"
    yield from (f"  {card[key]:,} {what}" for key, what in CARD)
    yield from _to_set(raw, settings, card)


def _of_raw(raw: Raw) -> Iterator[str]:
    rows = raw.interactions
    users, items = (rows[name].n_unique() for name in ("user_id", "item_id"))
    first, last = (_moment(time) for time in (rows["timestamp"].min(), rows["timestamp"].max()))
    yield f"interactions: {rows.height:,} of {users:,} users with {items:,} items, from {first} to {last}"
    yield from _first_rows(rows.select("user_id", "item_id", "timestamp"))
    attributes = [name for name in raw.items.columns if name not in OF_ITEMS]
    yield f"items: {raw.items.height:,}, attributes for the prompt: {', '.join(attributes) or 'none'}"
    yield from _first_rows(raw.items)
    if raw.users is not None:
        yield f"users: {raw.users.height:,}, attributes for audits: {', '.join(raw.users.columns[1:])}\n"
    if raw.texts is not None:
        yield f"texts by users: {raw.texts.height:,}\n"


def _first_rows(frame: pl.DataFrame) -> Iterator[str]:
    yield "  " + " | ".join(frame.columns)
    for row in frame.head(3).iter_rows():
        yield "  " + " | ".join(
            "–" if cell is None else tables.cut_short(" ".join(str(cell).split()), 40) for cell in row
        )
    yield ""


def _of_filters(raw: Raw, kept: pl.DataFrame, settings: Settings) -> Iterator[str]:
    data, rows = settings.data, raw.interactions
    yield f"kept: {kept.height:,} of {rows.height:,} interactions"
    if repeats := rows.height - rows.select("user_id", "item_id").unique().height:
        what = "go" if data.repeats == "first" else "may stay"
        yield f"  {repeats:,} that repeat an earlier one of the same user and item {what} ('repeats: {data.repeats}')"
    for name, least in (("user", data.min_user), ("item", data.min_item)):
        before, after = rows[f"{name}_id"].n_unique(), kept[f"{name}_id"].n_unique()
        yield f"  {before - after:,} of {before:,} {name}s go ('min_{name}: {least}', filter '{data.filter}')"
    yield ""


def _to_set(raw: Raw, settings: Settings, card: dict) -> Iterator[str]:
    data, found = settings.data, []
    if data.repeats == "keep" and card["repeat_share"] > 0:
        found.append(f"repeats: first            # {card['repeat_share']:.0%} of interactions are repeats")
    if data.category is None:
        counts = {name: raw.items[name].n_unique() for name in raw.items.columns if name not in OF_ITEMS}
        most = min(max(60, raw.items.height // 20), raw.items.height // 2)
        named = {name for name in counts if re.search("categ|genre|department", name, re.I)}
        fitting = sorted((n, name) for name, n in counts.items() if 3 <= n <= most)
        fitting = [(n, name) for n, name in fitting if name in named] or fitting
        if fitting:
            found.append(f"category: {fitting[0][1]}   # {fitting[0][0]} values, for maps and diversity")
    if data.max_length > 2 * card["longest_user"]:
        found.append(f"max_length: {max(card['longest_user'], 2)}   # nobody has more")
    if found:
        yield f"\nworth setting under 'datasets.{settings.dataset}' in params.yaml"
        yield from (f"  {line}" for line in found)


def _moment(time: object) -> str:
    """Write a point in time as a date, if a number looks like seconds or milliseconds since 1970."""
    if isinstance(time, datetime):
        return f"{time:%Y-%m-%d %H:%M}"
    number = float(time)
    seconds = number / 1000 if 1e11 < number < 1e13 else number
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}" if 1e8 < seconds < 1e10 else f"{number:g}"


def datasets_of(folder: str) -> list[str]:
    """Give the subfolders of a folder that has no files of its own, but datasets; else the folder itself."""
    inside = sorted(path for path in Path(folder).glob("*") if not path.name.startswith("."))
    if inside and all(path.is_dir() and recognised(path) for path in inside):
        note(f"{shown(Path(folder))} holds {len(inside)} datasets: each is checked")
        return [str(path) for path in inside]
    return [folder]


def main(arguments: list[str] | None = None) -> None:
    """Print the report, or the sentence that says what is at fault."""
    parser = argparse.ArgumentParser(prog="python -m llmesr.check", description=__doc__.partition(":")[2].strip())
    parser.add_argument("folder", help="folder of raw files, such as data/my-shop, or a dataset that the settings name")
    parser.add_argument("--params", default="params.yaml", help="settings file (default: %(default)s)")
    asked = parser.parse_args(arguments)
    for folder in datasets_of(asked.folder):
        try:
            with kept_notes():  # each note once
                for line in report(settings_of(folder, asked.params)):
                    print(line, flush=True)
        except InputError as error:
            hint = WHERE.format(params=asked.params, name=Path(folder).name) if "for this dataset" in str(error) else ""
            parser.exit(1, f"{error}\n{hint}")


if __name__ == "__main__":
    end_with_the_reader()
    main()
