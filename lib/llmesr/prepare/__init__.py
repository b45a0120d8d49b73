"""Stage 01: raw files → interactions, splits, long-tail groups, fixed negatives."""

import numpy as np
import polars as pl

from llmesr.errors import InputError
from llmesr.notes import kept_notes, note
from llmesr.paths import artifact, shown
from llmesr.prepare import dataset, filters, groups, warn
from llmesr.prepare.card import describe
from llmesr.prepare.dataset import Dataset
from llmesr.prepare.sources import Raw, load_raw
from llmesr.prepare.split import LEAVE_ONE_OUT_NEEDS, Split, cut, draw_negatives, leave_one_out, temporal
from llmesr.prepare.written import before_split
from llmesr.settings import DatasetSettings, PrepareSettings, Settings, hint

__all__ = ["Dataset", "clean", "label", "number", "prepared", "run"]
SEED_OF_TIES = 42


def run(settings: Settings) -> Dataset:
    """Do the whole stage and write `artifacts/<dataset>/prepare/`.

    Raises:
        InputError: bad raw files, or nothing is left after filtering.
    """
    with kept_notes() as notes:
        raw = load_raw(settings.folder, settings.data)
        frames, card = prepared(settings, raw, clean(raw, settings.data))
    folder = artifact(settings.dataset, "prepare")
    for part, frame in frames.items():
        dataset.save_frame(frame, folder / f"{part}.parquet")
    dataset.save_json({**card, "notes": notes}, folder / "card.json")
    return dataset.load(settings.dataset)


def prepared(settings: Settings, raw: Raw, kept: pl.DataFrame) -> tuple[dict[str, pl.DataFrame], dict]:
    """Do everything but read the files and write the results: the frames by their names, and the card.

    Args:
        settings: of the dataset.
        raw: what was read.
        kept: the interactions that `clean` left.

    Raises:
        InputError: nothing is left after filtering, or the split leaves no user to be judged.
    """
    if kept.is_empty():
        busiest = int(raw.interactions["user_id"].value_counts()["count"].max())
        if busiest < LEAVE_ONE_OUT_NEEDS and settings.prepare.split == "leave_one_out":
            raise InputError(
                f"{shown(settings.folder)}: no user has {LEAVE_ONE_OUT_NEEDS} interactions (the busiest has "
                f"{busiest}), one to learn from, one to choose by and one to judge by: bring more of each user"
            )
        raise InputError(
            f"{shown(settings.folder)}: no interaction is left after filtering "
            f"({raw.interactions.height} before): lower 'min_user' or 'min_item' in 'datasets.{settings.dataset}'"
        )
    _check_columns(settings, raw)
    cuts = cut(kept, settings.prepare.temporal_shares)
    if settings.prepare.split == "temporal":  # who comes later has no history to learn from
        kept = kept.filter(pl.col("timestamp").min().over("user_id") < cuts[0])
    interactions, users, items = number(kept, raw.items)
    if raw.users is not None:
        users = users.join(raw.users, on="user_id", how="left", maintain_order="left")
    if settings.prepare.split == "temporal":
        split = temporal(interactions, cuts)
    else:
        split = leave_one_out(interactions, settings.data.short_users)
    if split.test.is_empty() or split.validation.is_empty():
        need = {"leave_one_out": "3 interactions", "temporal": "interactions before and after both points in time"}
        raise InputError(
            f"{shown(settings.folder)}: no user has the {need[settings.prepare.split]} that the split "
            f"'{settings.prepare.split}' needs: get more data, or change 'prepare.split'"
        )
    texts, kept_texts = usable_texts(raw, interactions, items, split)
    users, items, thresholds = label(split, users, items, settings)
    totals = np.bincount(interactions["user"].to_numpy(), minlength=users.height)
    card = {"name": settings.dataset, **describe(users, items, totals, thresholds), **kept_texts}
    validation, test = add_negatives(interactions, split, items.height, settings.prepare)
    card |= warn.of_ties(kept, settings)
    card |= warn.of_repeats(split, interactions, settings) | warn.of_texts(items)
    card |= warn.of_negatives(validation, test, settings.prepare.negatives)
    frames = {"train": split.train, "validation": validation, "test": test, "known": split.known}
    return {**frames, "users": users, "items": items, "texts": texts}, card


def _check_columns(settings: Settings, raw: Raw) -> None:
    """Check that the columns which the dataset's section names are there.

    Raises:
        InputError: one is not.
    """
    items = [name for name in raw.items.columns if name not in dataset.OF_ITEMS]
    users = [] if raw.users is None else [name for name in raw.users.columns if name != "user_id"]
    chosen = settings.data
    asked = [("category", chosen.category, items, "items")]
    asked += [("user_attributes", name, users, "users") for name in chosen.user_attributes]
    asked += [("sensitive_attribute", chosen.sensitive_attribute, users, "users")]
    for key, name, known, table in asked:
        if name is None or name in known:
            continue
        problem = f"key 'datasets.{settings.dataset}.{key}' names '{name}', which is no column of {table}"
        if known:
            raise InputError(f"{problem}: {hint(name, known)}")
        note(f"{problem}: none is known")


def clean(raw: Raw, recipe: DatasetSettings) -> pl.DataFrame:
    """Order the interactions in time, then apply repeats, filter and short users.

    Ties keep the order of the file, or get a random one: where a file lists a basket by product id, the id of the last
    item would say something about the next one, which it does not in a shop.
    """
    rows = raw.interactions
    if recipe.ties == "random":
        rows = rows[np.random.default_rng(SEED_OF_TIES).permutation(rows.height)]
    ordered = rows.sort("timestamp", maintain_order=True)
    if recipe.repeats == "first":
        ordered = filters.first_only(ordered)
    kept = filters.FILTERS[recipe.filter](ordered, recipe.min_user, recipe.min_item)
    return filters.long_enough(kept, LEAVE_ONE_OUT_NEEDS) if recipe.short_users == "drop" else kept


def number(interactions: pl.DataFrame, items: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Give users the rows 0 … U - 1 and items the ids 1 … V, both in the order of their raw ids.

    Returns:
        interactions ordered by user and time (`user`, `item`, `user_id`, `timestamp`); users; items that occur.
    """
    users = interactions.select(pl.col("user_id").unique().sort()).with_row_index("user")
    known = items.join(interactions.select("item_id").unique(), on="item_id", how="semi").sort("item_id")
    known = known.with_row_index("item", offset=1)
    numbered = interactions.join(users, on="user_id", maintain_order="left").join(
        known.select("item", "item_id"), on="item_id", maintain_order="left"
    )
    numbered = numbered.sort("user", maintain_order=True)
    as_int = pl.col("user", "item").cast(pl.Int32, strict=True)
    return numbered.select(as_int, "user_id", "timestamp"), users, known


def usable_texts(
    raw: Raw, interactions: pl.DataFrame, items: pl.DataFrame, split: Split
) -> tuple[pl.DataFrame, dict[str, dict[str, int]]]:
    """Keep of what users wrote what may be used; and for the card, how much was left after each step."""
    if raw.texts is None:
        return pl.DataFrame(schema=dataset.TEXTS), {}
    with_ids = interactions.join(items.select("item", "item_id"), on="item", maintain_order="left")
    early, left = before_split(raw.texts, with_ids, split)
    return early.select("user", "item", "text").cast(dataset.TEXTS), {"texts": {"read": raw.texts.height, **left}}


def label(
    split: Split, users: pl.DataFrame, items: pl.DataFrame, settings: Settings
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, int]]:
    """Add each user's input length and each item's training count, and the groups they belong to.

    The length counts what is known at test time; the count only training. What makes an item popular is the training
    count too, unless the dataset's recipe counts all interactions, as the authors' code does.

    Returns:
        users with `length`, `tail`, `group`; items with `count`, `tail`, `group`; the thresholds of the tail.
    """
    lengths = np.bincount(split.known["user"].to_numpy(), minlength=users.height)
    counts = np.bincount(split.train["item"].to_numpy(), minlength=items.height + 1)[1:]
    popular = counts
    if settings.data.tail_item_counts == "all":
        held_out = pl.concat([split.validation["item"], split.test["item"]]).to_numpy()
        popular = counts + np.bincount(held_out, minlength=items.height + 1)[1:]
    thresholds = {
        "user": groups.tail_threshold(lengths, settings.prepare.tail_quantile, settings.data.tail_user_below),
        "item": groups.tail_threshold(popular, settings.prepare.tail_quantile, settings.data.tail_item_below),
    }
    users = users.with_columns(pl.Series("length", lengths)).with_columns(
        groups.tail_label(pl.col("length"), thresholds["user"], "user").alias("tail"),
        groups.edge_label(pl.col("length"), settings.prepare.length_edges, "length").alias("group"),
    )
    popular = pl.Series(popular)
    items = items.with_columns(
        pl.Series("count", counts),
        groups.tail_label(pl.lit(popular), thresholds["item"], "item").alias("tail"),
        groups.edge_label(pl.lit(popular), settings.prepare.popularity_edges, "popularity").alias("group"),
    )
    return users, items, thresholds


def add_negatives(
    interactions: pl.DataFrame, split: Split, n_items: int, settings: PrepareSettings
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Add to each held-out item the negatives it is ranked against, the same for every method and run.

    No split's item is a negative of its user: nothing the user ever touched is drawn.
    """
    touched = interactions.group_by("user", maintain_order=True).agg(pl.col("item").unique().sort())
    seen = [row.to_numpy() for row in touched["item"]]
    rng = np.random.default_rng(settings.seed)
    held_out = []
    for frame in (split.validation, split.test):
        drawn = draw_negatives(frame["user"].to_numpy(), seen, n_items, settings.negatives, rng)
        held_out.append(frame.with_columns(pl.Series("negatives", drawn, pl.Array(pl.Int32, settings.negatives))))
    return held_out[0], held_out[1]
