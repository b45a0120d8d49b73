"""Filters: repeats, k-core and one pass (the paper's App. A names them per dataset)."""

import polars as pl


def first_only(interactions: pl.DataFrame) -> pl.DataFrame:
    """Keep the first interaction of each user with each item; the frame must be in time order."""
    return interactions.unique(["user_id", "item_id"], keep="first", maintain_order=True)


def one_pass(interactions: pl.DataFrame, min_user: int, min_item: int) -> pl.DataFrame:
    """Keep users and items that have enough interactions, both counted once, before anything is dropped."""
    return interactions.filter((pl.len().over("user_id") >= min_user) & (pl.len().over("item_id") >= min_item))


def k_core(interactions: pl.DataFrame, min_user: int, min_item: int) -> pl.DataFrame:
    """Repeat the pass until every user and item that is left has enough interactions."""
    while True:
        kept = one_pass(interactions, min_user, min_item)
        if kept.height == interactions.height:
            return kept
        interactions = kept


def long_enough(interactions: pl.DataFrame, least: int) -> pl.DataFrame:
    """Drop users of whom a filter left fewer interactions; items are not counted again."""
    return interactions.filter(pl.len().over("user_id") >= least)


FILTERS = {"k_core": k_core, "one_pass": one_pass}
