"""Histories and other frames as people read them: for the lessons and for the page."""

from collections.abc import Sequence

import polars as pl
from IPython.display import Markdown

from llmesr.prepare.dataset import OF_ITEMS
from llmesr.recommend.recommender import Recommender


def history_frame(recommender: Recommender, history: Sequence[str]) -> pl.DataFrame:
    """Lay out a history, latest first: `title`, `bought`, `long tail`, `details`."""
    items = recommender.items[[recommender.rows[item] - 1 for item in reversed(history)]]
    attributes = [column for column in items.columns if column not in OF_ITEMS]
    details = pl.concat_str([pl.col(name).cast(pl.String) for name in attributes], separator=" · ", ignore_nulls=True)
    return items.select(
        "title",
        pl.col("count").alias("bought"),
        pl.when("tail").then(pl.lit("✓")).otherwise(pl.lit("")).alias("long tail"),
        (details if attributes else pl.lit("")).alias("details"),
    )


def as_table(frame: pl.DataFrame) -> Markdown:
    """Lay out a frame for people: all of it, without types and quotation marks."""
    markdown = {"tbl_hide_column_data_types": True, "tbl_hide_dataframe_shape": True, "tbl_formatting": "MARKDOWN"}
    complete = {"tbl_rows": -1, "tbl_cols": -1, "tbl_width_chars": -1, "fmt_str_lengths": 1000}
    with pl.Config(**markdown, **complete):
        return Markdown(str(frame.with_columns(pl.col(pl.String).str.replace_all("|", "\\|", literal=True))))
