"""`params.yaml`, read once into typed and frozen settings.

Every error names the key, the value and, for an unknown key, the nearest known one.
"""

import difflib
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from yaml.error import MarkedYAMLError

from llmesr.errors import InputError
from llmesr.paths import from_root, shown
from llmesr.settings.backbones import Bert4Rec, Gru4Rec, Model, SasRec
from llmesr.settings.embed import ApiEncoder, LocalEncoder, Lora
from llmesr.settings.methods import (
    AlphaFuse,
    Cities,
    DualMatch,
    LlmEsr,
    Melt,
    MultiView,
    Plain,
    RlmRecCon,
    RlmRecGen,
    UniSRec,
    WhitenRec,
)
from llmesr.settings.modalities import AudioView, CommunityView, ImageView, KnowledgeView, WordsView
from llmesr.settings.prepare import DepartmentRecipe, Prepare, Recipe, Ugc, WrittenRecipe
from llmesr.settings.schema import Served, Settings, Train

__all__ = [
    "AlphaFuse",
    "ApiEncoder",
    "AudioView",
    "Bert4Rec",
    "Cities",
    "CommunityView",
    "DepartmentRecipe",
    "DualMatch",
    "Gru4Rec",
    "ImageView",
    "KnowledgeView",
    "LlmEsr",
    "LocalEncoder",
    "Lora",
    "Melt",
    "Model",
    "MultiView",
    "Plain",
    "Prepare",
    "Recipe",
    "RlmRecCon",
    "RlmRecGen",
    "SasRec",
    "Served",
    "Settings",
    "Train",
    "Ugc",
    "UniSRec",
    "WhitenRec",
    "WordsView",
    "WrittenRecipe",
    "hint",
    "load",
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


def load(file: str | Path = "params.yaml") -> Settings:
    """Read and check a settings file.

    Args:
        file: path from the project root, or absolute.

    Raises:
        InputError: the file cannot be read, is no YAML, or a key is unknown, missing, double or of a wrong type.
    """
    path = from_root(file)
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        return Settings.model_validate(raw)
    except FileNotFoundError:
        raise InputError(f"{shown(path)} does not exist: name a settings file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{shown(path)} cannot be read ({error}): name a settings file in UTF-8") from None
    except MarkedYAMLError as error:
        at = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise InputError(f"{shown(path)} is no valid YAML ({at}{error.problem}): correct it") from None
    except yaml.YAMLError as error:
        raise InputError(f"{shown(path)} is no valid YAML ({str(error).splitlines()[0]}): correct it") from None
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors()]
        raise InputError(f"{shown(path)}: " + "; ".join(lines)) from None


def hint(key: str, known: list[str] | None = None) -> str:
    """Say what to do about a key that is not there: the nearest of the known ones, if any is near."""
    near = difflib.get_close_matches(key, known or _known_keys(Settings), n=1, cutoff=0.5)
    if near == [key]:
        return "add it to the settings"
    return f"did you mean '{near[0]}'?" if near else "remove it"


def _explain(problem: dict[str, Any]) -> str:
    """Say one pydantic problem as key, value and what to do."""
    where = [str(part) for part in problem["loc"]]
    known = _known_keys(Settings)
    if where[:2] == ["embed", "encoders"] and len(where) > 3:
        kind = where.pop(3)  # the discriminator of the union: in the path, but no key of the file
        known = _known_keys({"transformers": LocalEncoder, "api": ApiEncoder}[kind], ".".join(where[:3]) + ".")
    key = ".".join(where)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"key '{key}' is missing: add it"
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{key}' (value {problem['input']!r}): {hint(key, known)}"
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):
        # of a whole section, whose values would only bury the message, or of several, which it then names
        return f"section '{key}': {message}" if key else message
    return f"key '{key}' has the value {problem['input']!r}: {message}"


def _known_keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in section.model_fields.items():
        key = prefix + (field.alias or name)
        keys.append(key)
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                keys += _known_keys(kind, f"{key}.")
    return keys
