"""Packages that only some parts need: a missing one is named, with the pip extra that brings it."""

from collections.abc import Iterator
from contextlib import contextmanager

from llmesr.errors import InputError


@contextmanager
def optional(extra: str) -> Iterator[None]:
    """Import optional packages inside this block.

    Args:
        extra: the pip extra of this project that brings them, such as `ugc`.

    Raises:
        InputError: one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(f"the package '{error.name}' is not installed: run `pip install 'llmesr[{extra}]'`") from None
