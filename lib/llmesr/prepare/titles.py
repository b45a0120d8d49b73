"""Titles that say nothing: markup, scripts, placeholders, ids. They count as missing, and their number is said."""

import html
import re

import polars as pl

from llmesr.notes import note
from llmesr.prepare.text import without_markup

PLACEHOLDERS = (
    *("unknown", "unknown title", "untitled", "no title", "not available", "n/a", "na", "tbd"),
    *("nan", "none", "null", "-", "--", "?", "."),
)
"""Words that stand for a missing title when several items have them, in lower case."""
NAME = r"\p{L}{2,}\s+\S*\p{L}"
"""Words, as no id has them."""
UNCLOSED = re.compile(r"<[A-Za-z/!][^<>]*$")
"""A tag that never ends, as some products have for a title."""
SCRIPT = r"getTime\(|function\s*\(|document\.|window\.|\bvar \w+\s*=|[.#]\w[\w\s.#-]*\{[^}]*:"


def usable(items: pl.DataFrame) -> pl.DataFrame:
    """Make null what is no title, and say how many there were.

    Args:
        items: with `item_id` and `title`.
    """
    title = pl.col("title").str.strip_chars()
    placeholder = title.str.to_lowercase().is_in(PLACEHOLDERS)
    bare = items["title"].map_elements(lambda text: without_markup(UNCLOSED.sub("", text)), return_dtype=pl.String)
    reasons = items.select(
        markup=(bare == "") & (title != ""),
        script=title.str.contains(SCRIPT),
        placeholder=placeholder & (placeholder.sum() > 1),
        id=(title == pl.col("item_id")) & ~title.str.contains(NAME),
        empty=title == "",
    ).with_columns(pl.all().fill_null(value=False))
    missing = reasons.select(pl.any_horizontal(pl.all())).to_series() | items["title"].is_null()
    if missing.any():
        said = {"markup": "markup only", "script": "scripts", "placeholder": "words like 'unknown'", "id": "their ids"}
        kinds = [f"{int(reasons[kind].sum())} {words}" for kind, words in said.items() if reasons[kind].any()]
        note(
            f"{int(missing.sum())} of {items.height} items have no usable title"
            + (f" (of these {', '.join(kinds)})" if kinds else "")
            + ": a language model knows them by their other attributes only"
        )
    plain = pl.col("title").map_elements(html.unescape, return_dtype=pl.String)  # &amp; is &
    return items.with_columns(pl.when(missing).then(None).otherwise(plain).alias("title"))
