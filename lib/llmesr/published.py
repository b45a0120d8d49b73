"""The frames in `results/<dataset>/` that every table and figure derives from."""

import polars as pl

from llmesr.errors import InputError
from llmesr.paths import results, shown

UNTRAINED = "untrained"
"""Stands in the column `backbone` of a reference, which has none."""


def load(dataset: str, part: str = "metrics") -> pl.DataFrame:
    """Load `results/<dataset>/<part>.csv`, which stage 05 writes.

    Raises:
        InputError: it is not there.
    """
    file = results(dataset) / f"{part}.csv"
    if not file.exists():
        raise InputError(f"{shown(file)} is missing: run `dvc repro evaluate` first")
    return pl.read_csv(file)
