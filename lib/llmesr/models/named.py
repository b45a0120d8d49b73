"""Methods and backbones by their names."""

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T", bound=type)


def by_name(classes: Iterable[T]) -> dict[str, T]:
    """List classes by their attribute `name`.

    Raises:
        TypeError: a class has no `name` or no `title` of its own, or two have the same name.
    """
    found: dict[str, T] = {}
    for one in classes:
        for attribute in ("name", "title"):
            if not isinstance(getattr(one, attribute, None), str):
                raise TypeError(
                    f'{one.__name__} in {one.__module__} has no {attribute}: write `{attribute} = "…"` in it'
                )
        if one.name in found:
            raise TypeError(f"{one.__name__} and {found[one.name].__name__} have the same name '{one.name}'")
        found[one.name] = one
    return found
