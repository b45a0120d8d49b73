"""What may spoil a dataset without being an error: it is counted for the card, and said."""

import re

import numpy as np
import polars as pl

from llmesr.notes import note
from llmesr.prepare.dataset import OF_ITEMS
from llmesr.prepare.split import Split
from llmesr.settings import Settings

LEAST_TIES = 30
"""Fewer ties say nothing about their order."""
ADDRESS = r"^(https?://|www\.)\S+$"
IDS = r"^[A-Za-z]{0,3}[\d-]{4,}[A-Za-z]?$"


def of_repeats(split: Split, interactions: pl.DataFrame, settings: Settings) -> dict[str, float | int]:
    """Count repeats, and test items that their user had before: the full ranking leaves such items out.

    Returns:
        `repeat_share` of all interactions, and `test_items_had_before`.
    """
    pairs = interactions.select("user", "item")
    repeats = 1 - pairs.n_unique() / pairs.height
    had = split.test.join(split.known.select("user", "item").unique(), on=["user", "item"], how="semi").height
    if had and settings.evaluate.exclude_seen:
        note(
            f"{had:,} of {split.test.height:,} test items are ones that their user had before ({repeats:.0%} of all "
            "interactions are repeats). The full ranking leaves out what a user had, except for the answer, so all "
            "rows look better than they are: set 'repeats: first' for this dataset to ask for new items, or "
            "'evaluate.exclude_seen: false' to rank everything"
        )
    return {"repeat_share": round(repeats, 4), "test_items_had_before": had}


def of_ties(kept: pl.DataFrame, settings: Settings) -> dict[str, float]:
    """Count interactions at the time of their user's previous one, and say if such rows are in the order of item ids.

    Args:
        kept: the interactions in order, with their raw ids.
        settings: of the dataset.

    Returns:
        `tied_with_previous`, the share of all interactions.
    """
    numbers = kept["item_id"].cast(pl.Int64, strict=False)
    rows = kept.select("user_id", "timestamp", (kept["item_id"] if numbers.null_count() else numbers).alias("item"))
    rows = rows.with_columns(pl.col("timestamp", "item").shift(1).over("user_id").name.prefix("previous_"))
    tied = rows.filter(timestamp=pl.col("previous_timestamp")).filter(pl.col("item") != pl.col("previous_item"))
    share = tied.height / kept.height
    ascending = (tied["item"] > tied["previous_item"]).mean()
    if settings.data.ties == "file" and tied.height >= LEAST_TIES and not 0.1 < ascending < 0.9:
        note(
            f"{tied.height:,} interactions ({share:.0%}) have the time of their user's previous one and are in the "
            "order of item ids, which a model would learn: set 'ties: random' for this dataset"
        )
    return {"tied_with_previous": round(share, 4)}


def of_negatives(validation: pl.DataFrame, test: pl.DataFrame, wanted: int) -> dict[str, int]:
    """Count the users who are ranked against fewer negatives than asked for, since the catalogue has no more."""
    held_out = pl.concat([validation, test])
    drawn = pl.Series((np.stack(held_out["negatives"].to_list()) > 0).sum(1)) if held_out.height else pl.Series([0])
    fewer = int((drawn < wanted).sum())
    if fewer:
        note(
            f"{fewer:,} of {held_out.height:,} held-out items are ranked against fewer than {wanted} negatives "
            f"({int(drawn.min())} to {int(drawn.max())}): the catalogue has no more unseen items. Hits come easier "
            "with fewer; look at the full ranking, or lower 'prepare.negatives'"
        )
    return {"held_out_with_fewer_negatives": fewer}


def of_texts(items: pl.DataFrame) -> dict[str, int]:
    """Count items whose whole text is that of another one, and name attributes that say nothing to a language model."""
    attributes = [name for name in items.columns if name not in OF_ITEMS]
    texts = items.select(pl.col("title", *attributes).cast(pl.String))
    shared = int(texts.is_duplicated().sum())
    if shared > items.height / 20:
        note(
            f"{shared:,} of {items.height:,} items ({shared / items.height:.0%}) have the same text as another one: "
            "a language model cannot tell them apart. Give them titles or attributes that differ"
        )
    for name in attributes:
        values = texts[name].drop_nulls()
        if not len(values):
            continue
        if values.str.contains(ADDRESS).mean() > 0.5:
            note(f"the items' column '{name}' holds addresses (URLs), which say nothing to a language model: drop it")
        elif not _is_year(name, values) and _are_ids(values):
            note(f"the items' column '{name}' looks like ids ('{values[0][:40]}'), which fill the prompt: leave it out")
    return {"items_with_the_text_of_another": shared}


def _are_ids(values: pl.Series) -> bool:
    return values.n_unique() > len(values) / 2 and values.str.contains(IDS).mean() > 0.9


def _is_year(name: str, values: pl.Series) -> bool:
    return bool(re.search("year|date", name, re.I)) or values.n_unique() < 200
