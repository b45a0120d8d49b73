"""Tables that a user hands over: polars or pandas frames, or what polars makes one of."""

from typing import Any

import pandas as pd
import polars as pl

from llmesr.errors import InputError


def polars_frame(given: Any, called: str) -> pl.DataFrame:  # noqa: ANN401
    """Turn a table into a polars frame.

    Args:
        given: a frame of polars or pandas, or a dict of columns, or a list of dicts.
        called: what messages call it, such as `the new items`.

    Raises:
        InputError: it is no table, or a column cannot be read.
    """
    try:
        if isinstance(given, pl.LazyFrame):
            return given.collect()
        if isinstance(given, pd.DataFrame):
            return pl.from_pandas(given)
        if isinstance(given, pl.DataFrame | dict | list):
            return pl.DataFrame(given)
    except Exception as error:  # pandas' columns of objects fail in pyarrow, in as many ways as there are types
        raise InputError(f"{called} cannot be read ({str(error).splitlines()[0][:200]}): correct them") from None
    raise InputError(f"{called} are of the type {type(given).__name__}: give a polars or pandas DataFrame")
