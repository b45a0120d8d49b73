"""Take items out of training altogether, and ask for them afterwards: the test split has no part in it."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from llmesr.errors import InputError
from llmesr.models.ragged import Ragged
from llmesr.prepare.dataset import Dataset, Sequences, Targets, sequences
from llmesr.prepare.split import draw_negatives
from llmesr.settings import Settings

HALVES = ("validation", "test")
"""Of the items that are held out: by the first placements are chosen, the second is asked once."""


@dataclass(frozen=True)
class Cases:
    """What is asked: a user who goes on to an item that training never saw.

    Attributes:
        histories: of each case the trained items that came before, oldest first.
        targets: (n,) the new items, their users, and negatives, trained items among them, that these have not touched
            before their test item.
        had: of each case all that its user ever had but the target.
    """

    histories: Ragged
    targets: Targets
    had: Ragged


@dataclass(frozen=True)
class Held:
    """A dataset without some of its items.

    Attributes:
        data: what is left, with items 1..W and users of its own numbering.
        items: the catalogue rows of the n items that were held out; they are W + 1..W + n.
        order: (W + n,) rows of all items in the whole dataset, from 0.
        cases: by half of the held-out items.
    """

    data: Dataset
    items: pl.DataFrame
    order: np.ndarray
    cases: dict[str, Cases]

    @property
    def n_items(self) -> int:
        """W + n."""
        return len(self.order)


def hold_out(data: Dataset, settings: Settings) -> Held:
    """Hold out a share of the items, chosen at random.

    Args:
        data: of which training and validation interactions are read.
        settings: `cold.share` and `cold.seed`; `prepare.negatives`.

    Raises:
        InputError: the share holds out fewer than two items or all that validation asks for, or nobody goes on to one.
    """
    rng = np.random.default_rng(settings.cold.seed)
    n_items, n_new = data.n_items, int(settings.cold.share * data.n_items)
    if n_new < len(HALVES):
        raise InputError(f"key 'cold.share' holds out {n_new} of {n_items} items: raise it")
    shuffled, trained = rng.permutation(n_items), n_items - n_new
    order = np.concatenate([np.sort(shuffled[:trained]), shuffled[trained:]])
    rows, users = _renumbered(data, order, trained)
    seen = [part.to_numpy() for part in rows.group_by("user").agg(pl.col("item").unique().sort()).sort("user")["item"]]

    known, asked = rows.filter("trained", ~pl.col("asked")), rows.filter("trained", "asked")
    if asked.is_empty():
        raise InputError(f"all validation items are among the {n_new} held out: lower 'cold.share', or change its seed")
    of_trained = [items[items <= trained] for items in seen]
    who = asked["user"].to_numpy()
    drawn = draw_negatives(who, of_trained, trained, settings.prepare.negatives, rng)
    items = data.items[order].with_columns(item=pl.int_range(1, n_items + 1, dtype=data.items.schema["item"]))
    left = Dataset(
        name=f"{data.name}-cold",
        train=sequences(known, users.height),
        validation=Targets(who, asked["item"].to_numpy(), drawn),
        users=users,
        items=items[:trained],
        card=data.card,
    )
    edge = trained + n_new // 2
    cases = {}
    for half, first, last in zip(HALVES, (trained + 1, edge + 1), (edge, n_items), strict=True):
        cases[half] = _cases(rows.with_columns(new=pl.col("item").is_between(first, last)), left.train, seen)
        if not len(cases[half].targets.users):
            raise InputError(f"nobody goes on to one of the {n_new} items held out: raise 'cold.share'")
        drawn = draw_negatives(cases[half].targets.users, seen, n_items, settings.prepare.negatives, rng)
        cases[half] = replace(cases[half], targets=replace(cases[half].targets, negatives=drawn))
    return Held(left, items[trained:], order, cases)


def _renumbered(data: Dataset, order: np.ndarray, trained: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lay out training and validation interactions with new numbers, without users who are left with nothing.

    Returns:
        `user, item, asked, trained` in time order a user, and the users who are left.
    """
    number = np.zeros(data.n_items + 1, np.int64)
    number[order + 1] = np.arange(1, data.n_items + 1)
    users = np.repeat(np.arange(data.n_users), data.train.lengths)
    rows = pl.DataFrame(
        {
            "user": np.append(users, data.validation.users).astype(np.int64),
            "item": number[np.append(data.train.items, data.validation.items)],
            "asked": np.arange(len(users) + len(data.validation.users)) >= len(users),
        }
    ).with_columns(trained=pl.col("item") <= trained)
    rows = rows.filter((pl.col("trained") & ~pl.col("asked")).any().over("user")).sort("user", maintain_order=True)
    old = rows["user"].unique().sort()
    left = data.users[old.to_list()].with_columns(user=pl.int_range(pl.len(), dtype=data.users.schema["user"]))
    return rows.with_columns(user=pl.col("user").rank("dense").cast(pl.Int64) - 1), left


def _cases(rows: pl.DataFrame, train: Sequences, seen: list[np.ndarray]) -> Cases:
    """Ask each user for the last `new` item with a trained one before it; the negatives are still to be drawn."""
    before = pl.col("trained").cum_sum().over("user")
    last = rows.with_columns(before=before).filter("new", pl.col("before") > 0).group_by("user").last().sort("user")
    users, items = last["user"].to_numpy(), last["item"].to_numpy()
    histories = [train[user][:length] for user, length in zip(users, last["before"], strict=True)]
    had = [np.setdiff1d(seen[user], item) for user, item in zip(users, items, strict=True)]
    return Cases(_ragged(histories), Targets(users, items, np.zeros((len(users), 0))), _ragged(had))


def _ragged(rows: list[np.ndarray]) -> Ragged:
    return Ragged.of(np.concatenate([np.zeros(0), *rows]), [len(row) for row in rows])
