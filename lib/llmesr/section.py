"""What every section of the settings is made of: a frozen pydantic model that refuses unknown keys and wrong types.

The docstring below a key is its description; `docs` prints them all. This module imports nothing of the project, so
that a method or a backbone can hold its own section.
"""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A part of the settings: every key has a type, a default and a description."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


def distinct(values: tuple) -> tuple:
    """Refuse a list in which a value occurs twice."""
    if double := [value for i, value in enumerate(values) if value in values[:i]]:
        raise ValueError(f"{double[0]!r} occurs twice: keep one of them")
    return values


def ascending(edges: tuple[int, ...]) -> tuple[int, ...]:
    """Refuse edges of groups that do not ascend from above 0."""
    if any(low >= high for low, high in zip((0, *edges), edges, strict=False)):
        raise ValueError("the edges of groups must be above 0 and ascend: correct them")
    return edges


Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Strings = Annotated[tuple[str, ...], Field(strict=False), AfterValidator(distinct)]
Edges = Annotated[tuple[int, int, int, int], Field(strict=False), AfterValidator(ascending)]
Several = Field(strict=False, min_length=1), AfterValidator(distinct)
"""What a list of at least one element, all of them different, is checked for: `Annotated[tuple[T, ...], *Several]`."""
