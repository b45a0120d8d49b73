"""`params.yaml`, read once into typed and frozen settings.

A settings file names only what it changes; the schema holds the rest. Every error names the key, the value and, for an
unknown key, the nearest known one.
"""

import difflib
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from yaml.error import MarkedYAMLError

from llmesr.errors import InputError
from llmesr.paths import from_root, shown
from llmesr.settings.data import DatasetSettings, PrepareSettings, UgcSettings
from llmesr.settings.embed import ApiEncoder, EmbedSettings, LocalEncoder, LoraSettings
from llmesr.settings.extras import (
    AudioSource,
    ImageSource,
    InteractionGraphSource,
    KnowledgeSource,
    RecommendSettings,
    WordsSource,
)
from llmesr.settings.schema import Settings

__all__ = [
    "ApiEncoder",
    "AudioSource",
    "DatasetSettings",
    "EmbedSettings",
    "ImageSource",
    "InteractionGraphSource",
    "KnowledgeSource",
    "LocalEncoder",
    "LoraSettings",
    "PrepareSettings",
    "RecommendSettings",
    "Settings",
    "UgcSettings",
    "WordsSource",
    "apply",
    "load",
    "read_yaml",
]


class _Loader(yaml.SafeLoader):
    """Reads YAML, but refuses a key that occurs twice, of which PyYAML silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Construct a section."""
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise MarkedYAMLError(problem=f"key '{key.value}' occurs twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> object:
    """Read a YAML file.

    Raises:
        InputError: it cannot be read or is no YAML.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise InputError(f"{shown(path)} does not exist: name a settings file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{shown(path)} cannot be read ({error}): name a settings file in UTF-8") from None
    except MarkedYAMLError as error:
        at = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise InputError(f"{shown(path)} is no valid YAML ({at}{error.problem}): correct it") from None
    except yaml.YAMLError as error:
        raise InputError(f"{shown(path)} is no valid YAML ({str(error).splitlines()[0]}): correct it") from None


def load(file: str | Path = "params.yaml", changes: dict[str, Any] | None = None, dataset: str = "") -> Settings:
    """Read and check a settings file.

    Args:
        file: path from the project root, or absolute.
        changes: dotted keys with other values, such as `{"methods.llmesr.alpha": 0.0}`.
        dataset: another dataset than the file's, if it is not empty.

    Raises:
        InputError: the file cannot be read, is no YAML, or a key is unknown, double or of a wrong type.
    """
    path = from_root(file)
    raw = read_yaml(path)
    if raw is not None and not isinstance(raw, dict):
        raise InputError(f"{shown(path)} holds no sections: write 'key: value' lines")
    raw = {**(raw or {}), **({"dataset": dataset} if dataset else {})}
    try:
        settings = Settings.model_validate(_merge(Settings().model_dump(), raw))
    except ValidationError as error:
        raise InputError(f"{shown(path)}: " + "; ".join(map(_explain, error.errors()))) from None
    return apply(settings, changes or {}, "a change")


def apply(settings: Settings, changes: dict[str, Any], where: str) -> Settings:
    """Copy settings with some dotted keys changed.

    Args:
        settings: the base.
        changes: dotted keys and their values; `data.…` is the section of the chosen dataset.
        where: who asks for it, for the error.

    Raises:
        InputError: a key is unknown, or a value is not allowed.
    """
    try:
        return settings.changed(changes)
    except KeyError as key:
        raise InputError(f"{where}: unknown key {key}: {hint(str(key.args[0]))}") from None
    except ValidationError as error:
        raise InputError(f"{where}: " + "; ".join(map(_explain, error.errors()))) from None


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Lay a settings file over the defaults, section by section."""
    merged = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both else value
    return merged


def hint(key: str, known: list[str] | None = None) -> str:
    """Say what to do about a key that is not there: the nearest of the known ones, if any is near."""
    near = difflib.get_close_matches(key, known or known_keys(Settings), n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else "remove it"


def _explain(problem: dict[str, Any]) -> str:
    """Say one pydantic problem as key, value and what to do."""
    where = [str(part) for part in problem["loc"]]
    known = known_keys(Settings)
    if where[:2] in (["embed", "encoders"], ["modalities", "sources"]) and len(where) > 3:
        kind = where.pop(3)  # the discriminator of the union: in the path, but no key of the file
        known = known_keys(KINDS[kind], ".".join(where[:3]) + ".")
    if where[:1] == ["datasets"] and len(where) > 2:
        known = known_keys(DatasetSettings, f"datasets.{where[1]}.")
    key = ".".join(where)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"key '{key}' is missing: add it"
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{key}' (value {problem['input']!r}): {hint(key, known)}"
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):
        # of a whole section, whose values would only bury the message, or of several, which it then names
        return f"section '{key}': {message}" if key else message
    if problem["type"] == "string_type" and isinstance(problem["input"], bool | int | float):
        message = "YAML reads this as no text: put it in quotes"  # a dataset called no, or 2024
    if problem["type"] == "string_pattern_mismatch" and where[0] in ("dataset", "datasets"):
        message = "a dataset's name has only letters, digits, '.', '_' and '-': rename it and its folder"
    return f"key '{key}' has the value {problem['input']!r}: {message}"


KINDS: dict[str, type[BaseModel]] = {
    "transformers": LocalEncoder,
    "api": ApiEncoder,
    "words": WordsSource,
    "interaction_graph": InteractionGraphSource,
    "knowledge": KnowledgeSource,
    "image": ImageSource,
    "audio": AudioSource,
}


def known_keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    """List the dotted keys of a section and of those below it."""
    keys = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                keys += known_keys(kind, f"{prefix}{name}.")
    return keys
