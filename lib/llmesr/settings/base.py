"""What every section of the settings shares."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


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


def rising(shares: tuple[float, float]) -> tuple[float, float]:
    """Refuse a second share that is not above the first."""
    if shares[0] >= shares[1]:
        raise ValueError("the second share must be above the first: correct them")
    return shares


Strings = Annotated[tuple[str, ...], Field(strict=False)]
Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Several = Field(strict=False, min_length=1), AfterValidator(distinct)
"""What a list whose elements must all differ is checked for."""
Edges = Annotated[tuple[int, int, int, int], Field(strict=False), AfterValidator(ascending)]


class Section(BaseModel):
    """A frozen part of the settings that refuses unknown keys and wrong types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
