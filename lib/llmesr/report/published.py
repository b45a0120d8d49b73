"""The frames in `results/<dataset>/` that every table and figure derives from."""

import polars as pl

from llmesr.errors import InputError
from llmesr.paths import results, shown


def load(dataset: str, part: str = "metrics", stage: str = "evaluate", command: str | None = None) -> pl.DataFrame:
    """Load `results/<dataset>/<stage>/<part>.csv`, which a command makes, by default `dvc repro <stage>`.

    Raises:
        InputError: it is not there.
    """
    file = results(dataset, stage) / f"{part}.csv"
    if not file.exists():
        raise InputError(f"{shown(file)} is missing: run `{command or f'dvc repro {stage}'}` first")
    return pl.read_csv(file)
