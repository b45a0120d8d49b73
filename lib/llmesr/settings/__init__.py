"""`params.yaml`, read once into typed and frozen settings.

Every error names the key, the value and, for an unknown key, the nearest known one.
"""

import difflib
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from llmesr.errors import InputError
from llmesr.paths import from_root, shown
from llmesr.settings.methods import Cities, LlmEsr, Melt, Plain, RlmRecCon, RlmRecGen
from llmesr.settings.schema import (
    ApiEncoder,
    Bert4Rec,
    DepartmentRecipe,
    Gru4Rec,
    LocalEncoder,
    Model,
    Prepare,
    Recipe,
    SasRec,
    Settings,
    Train,
)

__all__ = [
    "ApiEncoder",
    "Bert4Rec",
    "Cities",
    "DepartmentRecipe",
    "Gru4Rec",
    "LlmEsr",
    "LocalEncoder",
    "Melt",
    "Model",
    "Plain",
    "Prepare",
    "Recipe",
    "RlmRecCon",
    "RlmRecGen",
    "SasRec",
    "Settings",
    "Train",
    "hint",
    "load",
]


def load(file: str | Path = "params.yaml") -> Settings:
    """Read and check a settings file.

    Args:
        file: path from the project root, or absolute.

    Raises:
        InputError: the file is missing, is no YAML, or a key is unknown, missing or of a wrong type.
    """
    path = from_root(file)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Settings.model_validate(raw)
    except FileNotFoundError:
        raise InputError(f"{shown(path)} does not exist: name a settings file") from None
    except yaml.YAMLError as error:
        raise InputError(f"{shown(path)} is no valid YAML: {error}") from None
    except ValidationError as error:
        lines = [_explain(problem, raw) for problem in error.errors()]
        raise InputError(f"{shown(path)}: " + "; ".join(lines)) from None


def hint(key: str) -> str:
    """Say what to do about a key that is not there: the nearest known one, if any is near."""
    near = difflib.get_close_matches(key, _known_keys(Settings), n=1, cutoff=0.5)
    if near == [key]:
        return "add it to the settings"
    return f"did you mean '{near[0]}'?" if near else "remove it"


def _explain(problem: dict[str, Any], raw: dict[str, Any]) -> str:
    """Say one pydantic problem as key, value and what to do."""
    # the discriminator of a union shows up in the path but is no key of the file
    where = [str(part) for part in problem["loc"] if str(part) not in ("transformers", "api")]
    key = ".".join(where)
    if problem["type"] == "missing":
        return f"key '{key}' is missing: add it"
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{key}' (value {problem['input']!r}): {hint(key)}"
    if problem["type"] == "value_error":  # of a whole section: its values would only bury the message
        return f"section '{key}': {problem['msg'].removeprefix('Value error, ')}"
    return f"key '{key}' has the value {problem['input']!r}: {problem['msg']}"


def _known_keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in section.model_fields.items():
        key = prefix + (field.alias or name)
        keys.append(key)
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                keys += _known_keys(kind, f"{key}.")
    return keys
