"""What users wrote: only texts about training interactions, written before the split point, may ever be used."""

import polars as pl

from llmesr.prepare.split import Split


def before_split(texts: pl.DataFrame, interactions: pl.DataFrame, split: Split) -> tuple[pl.DataFrame, dict[str, int]]:
    """Keep what was written about training interactions, no later than the last of them, by the same user.

    A text about a held-out item would tell what is to be predicted; a later one may hint at it.

    Args:
        texts: `user_id`, `item_id`, `timestamp`, `text`, raw ids.
        interactions: all of the split's, with `user`, `item`, `user_id`, `item_id` and `timestamp`, in time order.
        split: which of them are training.

    Returns:
        `user`, `item`, `timestamp`, `text`, in the order of the texts; and how many were left after each step.
    """
    lengths = split.train.group_by("user").agg(pl.len().alias("trained"))
    ordered = interactions.with_columns(pl.int_range(pl.len()).over("user").alias("place")).join(lengths, on="user")
    train = ordered.filter(pl.col("place") < pl.col("trained"))
    ends = train.group_by("user").agg(pl.col("timestamp").max().alias("end"))
    pairs = train.select("user", "item", "user_id", "item_id").unique()
    held_out = ordered.filter(pl.col("place") >= pl.col("trained")).select(
        "user", "item"
    )  # had again: it would tell too much
    known = pairs.join(held_out, on=["user", "item"], how="anti").join(ends, on="user")
    about = texts.join(known, on=["user_id", "item_id"], maintain_order="left")
    early = about.filter(pl.col("timestamp") <= pl.col("end")).select("user", "item", "timestamp", "text")
    return early, {"about a training interaction": about.height, "no later than the split point": early.height}
