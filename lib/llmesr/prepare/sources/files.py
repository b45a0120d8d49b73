"""Which file of a folder is which table: by its name, RecBole's ending, or as the only one with the right columns."""

import re
from collections import defaultdict
from pathlib import Path

from llmesr.errors import InputError
from llmesr.notes import note
from llmesr.paths import shown
from llmesr.prepare.sources import columns
from llmesr.prepare.sources.tables import ENDINGS, peek
from llmesr.settings import DatasetSettings

OTHERS = {"items", "users", "texts", "triples", "links"}
"""Names of tables that are not the interactions."""
PART = re.compile(r"(?P<part>train(ing)?|valid(ation)?|val|dev|test)(?![a-z])|part[-_]?\d+", re.I)
SHARD = re.compile(r"(?P<number>\d+)[-_]of[-_](?P<all>\d+)", re.I)
ORDER = ("train", "val", "dev", "test")
"""In which order the parts of a split file are read, by how their names begin."""
SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
PACKED = (".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar", ".bz2", ".xz", ".zst")


def named(folder: Path, stem: str) -> Path | None:
    """Find the table of that name, whatever its ending.

    Raises:
        InputError: there are several, or it is a link to nothing.
    """
    there = [file for ending in ENDINGS if (file := folder / f"{stem}{ending}").exists() or file.is_symlink()]
    if len(there) > 1:
        names = " and ".join(file.name for file in there)
        raise InputError(f"{shown(folder)} has {names}: leave one of them there")
    if there and there[0].is_dir():
        raise InputError(
            f"{shown(there[0])} is a folder of parts: make one file of them, such as by polars' "
            f"read_parquet('{there[0].name}/**/*.parquet').write_parquet(…), and put it in the folder's place"
        )
    if there and not there[0].is_file():
        raise InputError(f"{shown(there[0])} is no file that can be read: it is a link to nothing")
    return there[0] if there else None


def lone(folder: Path, *endings: str) -> Path | None:
    """Find the only file with one of these endings."""
    files = [file for file in sorted(folder.glob("*")) if file.name.endswith(endings) and file.name[0] != "."]
    return files[0] if len(files) == 1 else None


def of_interactions(folder: Path, recipe: DatasetSettings) -> list[Path]:
    """Find the table of interactions, or its parts in their order.

    Raises:
        InputError: there is none, a part is missing, or several could be meant.
    """
    if file := named(folder, "interactions") or lone(folder, ".inter", ".inter.gz"):
        return [file]
    tables = [file for file in sorted(folder.glob("*")) if _stem(file) and _stem(file) not in OTHERS]
    tables = [file for file in tables if not re.match(r"readme|licen[cs]e|meta_|\.", file.name, re.I)]
    fitting = [file for file in tables if _has_ids(file, recipe)]
    if len(fitting) == 1 and not SHARD.search(fitting[0].name):
        note(f"{shown(fitting[0])} is taken for the table of interactions")
        return fitting
    if fitting and _are_parts(fitting):
        return sorted(fitting, key=_order)
    if fitting:
        names = ", ".join(file.name for file in fitting[:8])
        raise InputError(f"{shown(folder)} has several tables of users and items ({names}): call one 'interactions'")
    raise InputError(
        f"{shown(folder / 'interactions')}.csv or .parquet is missing: put the table there, or set 'format' for this "
        f"dataset{_hint(folder, tables)}"
    )


def of_items(folder: Path, recipe: DatasetSettings) -> Path | None:
    """Find the table of items, if there is one.

    Raises:
        InputError: several could be meant.
    """
    if file := named(folder, "items") or lone(folder, ".item", ".item.gz"):
        return file
    tables = [file for file in sorted(folder.glob("*")) if _stem(file) not in {"", *OTHERS}]
    fitting = [file for file in tables if _holds_items(file, recipe)]
    if len(fitting) > 1:
        names = ", ".join(file.name for file in fitting[:8])
        raise InputError(f"{shown(folder)} has several tables of items ({names}): call the right one 'items'")
    if fitting:
        note(f"{shown(fitting[0])} is taken for the table of items")
    return fitting[0] if fitting else None


def of_users(folder: Path) -> Path | None:
    """Find the table of users, if there is one."""
    return named(folder, "users") or lone(folder, ".user", ".user.gz")


def _are_parts(files: list[Path]) -> bool:
    """Whether files are parts of one table: shards, parts of a split, or names that differ in numbers only.

    Raises:
        InputError: a shard is missing.
    """
    shards = defaultdict(set)
    for file in files:
        if shard := SHARD.search(file.name):
            shards[SHARD.sub("", file.name), int(shard["all"])].add(int(shard["number"]))
    for (_, wanted), there in shards.items():
        numbers = range(min(1, *there), wanted + min(1, *there))  # they are counted from 0 or from 1
        if lacking := [str(number) for number in numbers if number not in there]:
            folder = shown(files[0].parent)
            raise InputError(f"{folder}: parts {', '.join(lacking[:8])} of {wanted} of a table are missing: add them")
    marked = all(PART.search(file.name) or SHARD.search(file.name) for file in files)
    return marked or len({re.sub(r"\d+", "", file.name) for file in files}) == 1


def _order(file: Path) -> tuple[int, list[int], str]:
    """Sort parts of a split as they follow each other in time, and all others by the numbers in their names."""
    part = (found["part"] or "").lower() if (found := PART.search(file.name)) else ""
    kind = next((i for i, name in enumerate(ORDER) if part.startswith(name)), 0)
    return kind, [int(number) for number in re.findall(r"\d+", file.name)], file.name


def _hint(folder: Path, tables: list[Path]) -> str:
    """Say what could be done about the files that are there instead of the table that is looked for."""
    advice = []
    for path in sorted(folder.glob("*")):
        name = path.name.lower()
        if name.endswith(SPREADSHEETS):
            advice.append(f"{path.name}: save it as CSV")
        elif name.endswith(PACKED):
            advice.append(f"{path.name}: unpack it")
        elif path.is_file() and name.endswith(ENDINGS) and not path.name.endswith(ENDINGS):
            advice.append(f"{path.name}: write the name in lower case")
        elif path.is_dir() and any(_stem(file) for file in path.glob("*")):
            advice.append(f"{path.name}/: move its tables up, or set 'folder'")
        elif path.is_dir() and any(_stem(file) for file in path.rglob("*")):
            advice.append(f"{path.name}/: make one table of the parts that lie in its folders")
    if tables:
        advice.append(f"or set 'columns' if it is one of {', '.join(file.name for file in tables[:8])}")
    return f" ({'; '.join(advice[:4])})" if advice else ""


def _stem(file: Path) -> str:
    """Return a table's name without its ending; nothing for other files."""
    ending = next((ending for ending in ENDINGS if file.name.endswith(ending)), None)
    return file.name.removesuffix(ending).lower() if ending and file.is_file() and file.name[0] != "." else ""


def _has_ids(file: Path, recipe: DatasetSettings) -> bool:
    """Whether the columns of a table hold users and items."""
    try:
        names = peek(file, recipe)
        return all(columns.find(names, role, recipe.columns, shown(file)) for role in ("user_id", "item_id"))
    except InputError:
        return False


def _holds_items(file: Path, recipe: DatasetSettings) -> bool:
    """Whether a table has ids and titles of items, but no users."""
    try:
        names = peek(file, recipe)
        chosen = columns.among(recipe.columns, names)
        item = columns.find(names, "item_id", chosen, shown(file), also=("id",))
        title = columns.find(names, "title", chosen, shown(file))
        return bool(item and title) and not columns.find(names, "user_id", chosen, shown(file))
    except InputError:
        return False
