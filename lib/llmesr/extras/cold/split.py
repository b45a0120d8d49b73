"""Take items out of training altogether, and predict them afterwards: the test split has no part in it."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from llmesr.errors import InputError
from llmesr.prepare.dataset import Dataset, Targets, sequences
from llmesr.prepare.split import draw_negatives
from llmesr.sequences import Sequences
from llmesr.settings import Settings

HALVES = ("validation", "test")
"""Of the cold items: placements are chosen by the first half, and the second is looked at once."""


@dataclass(frozen=True)
class Cases:
    """Users who go on to an item that training never saw.

    Attributes:
        histories: of each case the trained items that came before, oldest first.
        targets: (n,) the cold items, their users, and negatives, trained items among them, that these have not touched
            before their test item.
        seen: of each case all that its user ever had but the target.
    """

    histories: Sequences
    targets: Targets
    seen: Sequences


@dataclass(frozen=True)
class ColdSplit:
    """A dataset without some of its items.

    Attributes:
        data: what is left, with items 1 … W and users numbered anew.
        cold_items: the catalogue rows of the n items that are not trained; they are W + 1 … W + n.
        order: (W + n,) rows of all items in the original dataset, from 0.
        cases: by half of the cold items.
    """

    data: Dataset
    cold_items: pl.DataFrame
    order: np.ndarray
    cases: dict[str, Cases]

    @property
    def n_items(self) -> int:
        """W + n."""
        return len(self.order)


def cold_split(data: Dataset, settings: Settings) -> ColdSplit:
    """Hold out a share of the items, chosen at random.

    Args:
        data: of which training and validation interactions are read.
        settings: `cold.share` and `cold.seed`; `prepare.negatives`.

    Raises:
        InputError: the share holds out fewer than two items or all validation items, or nobody goes on to one.
    """
    rng = np.random.default_rng(settings.cold.seed)
    n_items, n_cold = data.n_items, int(settings.cold.share * data.n_items)
    if n_cold < len(HALVES):
        raise InputError(f"key 'cold.share' holds out {n_cold} of {n_items} items: raise it")
    shuffled, trained = rng.permutation(n_items), n_items - n_cold
    order = np.concatenate([np.sort(shuffled[:trained]), shuffled[trained:]])
    rows, users = _renumbered(data, order, trained)
    touched = rows.group_by("user").agg(pl.col("item").unique().sort()).sort("user")["item"]
    seen = [items.to_numpy() for items in touched]

    known = rows.filter("trained", ~pl.col("validation"))
    validation = rows.filter("trained", "validation")
    if validation.is_empty():
        raise InputError(
            f"all validation items are among the {n_cold} held out: lower 'cold.share', or change its seed"
        )
    items = data.items[order].with_columns(item=pl.int_range(1, n_items + 1, dtype=data.items.schema["item"]))
    of_trained, asked = [part[part <= trained] for part in seen], validation["user"].to_numpy()
    negatives = draw_negatives(asked, of_trained, trained, settings.prepare.negatives, rng)
    left = Dataset(
        name=f"{data.name}-cold",
        train=sequences(known, users.height),
        validation=Targets(asked, validation["item"].to_numpy(), negatives),
        users=users,
        items=items[:trained],
        card=data.card,
    )
    edge = trained + n_cold // 2
    cases = {}
    for half, first, last in zip(HALVES, (trained + 1, edge + 1), (edge, n_items), strict=True):
        found = _cases(rows.with_columns(target=pl.col("item").is_between(first, last)), left.train, seen)
        if not len(found.targets.users):
            raise InputError(f"nobody goes on to one of the {n_cold} items held out: raise 'cold.share'")
        negatives = draw_negatives(found.targets.users, seen, n_items, settings.prepare.negatives, rng)
        cases[half] = replace(found, targets=replace(found.targets, negatives=negatives))
    return ColdSplit(left, items[trained:], order, cases)


def _renumbered(data: Dataset, order: np.ndarray, trained: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lay out training and validation interactions with new numbers, without users who are left with nothing.

    Returns:
        `user, item, validation, trained` in time order a user, and the users who are left.
    """
    number = np.zeros(data.n_items + 1, np.int64)
    number[order + 1] = np.arange(1, data.n_items + 1)
    n_train = len(data.train.items)
    rows = pl.DataFrame(
        {
            "user": np.append(data.train.row.numpy(), data.validation.users).astype(np.int64),
            "item": number[np.append(data.train.items.numpy(), data.validation.items)],
            "validation": np.arange(n_train + len(data.validation.users)) >= n_train,
        }
    ).with_columns(trained=pl.col("item") <= trained)
    rows = rows.filter((pl.col("trained") & ~pl.col("validation")).any().over("user"))
    rows = rows.sort("user", maintain_order=True)
    kept = rows["user"].unique().sort()
    users = data.users[kept.to_list()].with_columns(user=pl.int_range(pl.len(), dtype=data.users.schema["user"]))
    return rows.with_columns(user=pl.col("user").rank("dense").cast(pl.Int64) - 1), users


def _cases(rows: pl.DataFrame, train: Sequences, seen: list[np.ndarray]) -> Cases:
    """Take of each user the last `target` with a trained item before it; the negatives are still to be drawn."""
    before = pl.col("trained").cum_sum().over("user")
    last = rows.with_columns(before=before).filter("target", pl.col("before") > 0).group_by("user").last().sort("user")
    users, items = last["user"].to_numpy(), last["item"].to_numpy()
    histories = [train[user][:length].numpy() for user, length in zip(users, last["before"], strict=True)]
    others = [np.setdiff1d(seen[user], item) for user, item in zip(users, items, strict=True)]
    targets = Targets(users, items, np.zeros((len(users), 0)))
    return Cases(Sequences.of_lists(histories), targets, Sequences.of_lists(others))
