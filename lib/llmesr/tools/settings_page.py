"""List all settings, a table a section, from the schema: `python -m llmesr.tools.settings_page` (`make settings`).

The docstring below a key in the schema is its description here.
"""

import json
import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from llmesr.notes import end_with_the_reader
from llmesr.settings.schema import Settings

HEAD = """# Settings

All keys of `params.yaml`, with their types, defaults and meanings. A settings file names only what it changes. In code,
`load("params.yaml", {"methods.llmesr.alpha": 0.0})` changes single keys in memory."""
NAMES = {bool: "true or false", int: "integer", float: "number", str: "text"}


def page() -> str:
    """Write the page: a heading and a table for every section."""
    parts = [HEAD]
    for path, section in sections(Settings):
        title = f"## `{path}`" if path else "## Top level"
        parts.append(f"{title}\n\n{_cell(section.__doc__ or '')}\n\n{table(section)}")
    return "\n\n".join(parts) + "\n"


def sections(section: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Walk through a section and those below it: the dotted key of each, and its model.

    A section that a name of the user's own leads to has `<name>` in its key, and one of several kinds its kind.
    """
    yield path, section
    for name, field in section.model_fields.items():
        key = f"{path}.{name}".lstrip(".")
        key += ".<name>" if get_origin(_bare(field.annotation)) is dict else ""
        found = list(_models(field.annotation))
        for model in found:
            kind = model.model_fields.get("kind")
            yield from sections(model, f"{key} ({get_args(kind.annotation)[0]})" if len(found) > 1 and kind else key)


def table(section: type[BaseModel]) -> str:
    """Lay out the keys of one section that hold values."""
    lines = ["| Key | Type | Default | Description |", "| --- | --- | --- | --- |"]
    for name, field in section.model_fields.items():
        cells = [f"`{name}`", _cell(describe(field.annotation)), default(field), _cell(field.description or "")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def describe(kind: Any) -> str:  # noqa: ANN401 - any type that an annotation can be
    """Say what a key takes."""
    kind = _bare(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is type(None):
        return "null"
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        if all(_is_section(_bare(part)) for part in arguments):
            return "section, by its `kind`"
        return " or ".join(describe(part) for part in arguments)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"list of {describe(arguments[0])}"
        return f"list of {len(arguments)} × {describe(arguments[0])}"
    if origin is dict:
        return "sections, by name"
    if _is_section(kind):
        return "section"
    return NAMES[kind]


def default(field: FieldInfo) -> str:
    """Write a key's default as YAML would have it; nothing for a section, whose own keys have theirs."""
    value = field.default
    if value is PydanticUndefined:
        return "(required)"
    if isinstance(value, BaseModel):
        return ""
    if isinstance(value, dict):
        return _cell(", ".join(f"`{name}`" for name in value))
    if isinstance(value, str):
        return f"`{_cell(value)}`"
    return f"`{json.dumps(value)}`"


def _is_section(kind: Any) -> bool:  # noqa: ANN401
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _bare(kind: Any) -> Any:  # noqa: ANN401
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind


def _models(kind: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401
    """List the sections that an annotation names, however deep."""
    kind = _bare(kind)
    if _is_section(kind):
        yield kind
    elif get_origin(kind) is not Literal:
        for part in get_args(kind):
            yield from _models(part)


def _cell(text: str) -> str:
    """Write a text so that it fits a cell: on one line, and without a bar."""
    return re.sub(r"\s+", " ", text).strip().replace("|", r"\|")


if __name__ == "__main__":
    end_with_the_reader()
    print(page(), end="")
