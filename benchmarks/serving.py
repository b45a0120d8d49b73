"""Recommendations from a saved recommender: how long one user waits, and how many users an export serves a second."""

import time
from pathlib import Path

import numpy as np
import polars as pl
import torch
from llmesr import Recommender, recommend
from llmesr.prepare import dataset
from llmesr.settings import load

from benchmarks.timing import read_job, report

SINGLE_USERS = 500
"""Users whose lists are made one by one."""


def crowd(histories: pl.DataFrame, users: int) -> pl.DataFrame:
    """Make a crowd of users: the dataset's histories over and over, each time under a new id.

    Args:
        histories: `user_id, item_id`.
        users: how many.
    """
    lists = histories.group_by("user_id", maintain_order=True).agg("item_id")
    some = lists[np.arange(users) % lists.height].with_columns(user_id=pl.int_range(users).cast(pl.String))
    return some.explode("item_id")


def main() -> None:
    """Measure one way to serve."""
    job = read_job()
    torch.set_num_threads(1)
    settings = load(job["params"])
    recommender = Recommender.load(recommend.saved(settings, job["method"]))
    histories, k = recommend.histories(dataset.load(settings.dataset)), settings.recommend.k
    if job["system"] == "export":
        everyone = crowd(histories, job["users"])
        began = time.perf_counter()
        recommender.export(everyone, Path(job["folder"]) / "lists.parquet", k)
        report({"users_per_second": job["users"] / (time.perf_counter() - began)})
        return
    lists = histories.group_by("user_id", maintain_order=True).agg("item_id")["item_id"].to_list()
    recommender.recommend(lists[0], k)  # what is computed once
    milliseconds = []
    for history in lists[:SINGLE_USERS]:
        began = time.perf_counter()
        recommender.recommend(history, k)
        milliseconds.append(1000 * (time.perf_counter() - began))
    report(
        {
            "milliseconds": float(np.median(milliseconds)),
            "milliseconds_p95": float(np.quantile(milliseconds, 0.95)),
            "users_per_second": 1000 / float(np.mean(milliseconds)),
        }
    )


if __name__ == "__main__":
    main()
