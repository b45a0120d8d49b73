"""Recommendations from a saved recommender: how long one user waits, and how many users an export serves a second."""

import time
from pathlib import Path

import numpy as np
import polars as pl
import torch
from llmesr import Recommender, recommend
from llmesr.prepare import dataset
from llmesr.settings import load

from benchmarks.timing import say, told

ASKED = 500
"""Users who are asked for one by one."""


def crowd(histories: pl.DataFrame, users: int) -> pl.DataFrame:
    """Make up a crowd: the dataset's histories over and over, each time under a new id.

    Args:
        histories: `user_id, item_id`.
        users: how many.
    """
    lists = histories.group_by("user_id", maintain_order=True).agg("item_id")
    some = lists[np.arange(users) % lists.height].with_columns(user_id=pl.int_range(users).cast(pl.String))
    return some.explode("item_id")


def main() -> None:
    """Measure one way to serve."""
    job = told()
    torch.set_num_threads(1)
    settings = load(job["params"])
    recommender = Recommender.load(recommend.saved(settings, job["method"]))
    histories, k = recommend.histories(dataset.load(settings.data.name)), settings.recommend.k
    if job["system"] == "export":
        everyone = crowd(histories, job["users"])
        began = time.perf_counter()
        recommender.export(everyone, Path(job["folder"]) / "lists.parquet", k)
        say({"users_per_second": job["users"] / (time.perf_counter() - began)})
        return
    lists = histories.group_by("user_id", maintain_order=True).agg("item_id")["item_id"].to_list()
    recommender.recommend(lists[0], k)  # what is made once
    waited = []
    for history in lists[:ASKED]:
        began = time.perf_counter()
        recommender.recommend(history, k)
        waited.append(1000 * (time.perf_counter() - began))
    slow = float(np.quantile(waited, 0.95))
    say(
        {"milliseconds": float(np.median(waited)), "milliseconds_p95": slow, "users_per_second": 1000 / np.mean(waited)}
    )


if __name__ == "__main__":
    main()
