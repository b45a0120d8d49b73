"""What the loaders share: reading a file that was fetched, points in time that are numbers."""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from llmesr.errors import InputError
from llmesr.paths import shown


def fetched(file: Path, read: Callable[[Path], pl.DataFrame], columns: set[str]) -> pl.DataFrame:
    """Read a file that `make data` fetched.

    Raises:
        InputError: it is missing or damaged, or lacks one of the columns.
    """
    if not file.exists():
        raise InputError(f"{shown(file)} is missing: run `make data`")
    try:
        frame = read(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{shown(file)} is damaged ({reason(error)}): delete it and run `make data`") from None
    if absent := columns - set(frame.columns):
        raise InputError(f"{shown(file)} lacks the column '{min(absent)}': delete it and run `make data`")
    return frame


def reason(error: Exception) -> str:
    """Cut an error of polars, which adds advice on its own functions, to its first line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def numbers(text: pl.Series) -> pl.Series:
    """Read text as numbers; what is none, "nan" or "inf", which are no points in time, becomes null."""
    values = text.str.strip_chars().cast(pl.Float64, strict=False)
    return values.set(~values.is_finite().fill_null(True), None)
