"""Our side of the comparison with RecBole: an epoch and a full ranking, and the same data as RecBole's atomic files."""

import csv
import time
from pathlib import Path

import torch
from llmesr.metrics import hit_rate, ndcg
from llmesr.models.base import Method
from llmesr.models.scoring import Scorer, rank
from llmesr.prepare.dataset import Dataset, Targets
from llmesr.runs.store import Run
from llmesr.train.loop import Task

from benchmarks.inputs import read, task_of, trained, typical
from benchmarks.timing import read_job, report

EVALUATIONS = 3


def ours(run: Run, epochs: int) -> tuple[dict[str, float], str]:
    """Train for some epochs without validating, then rank the validation items of all users among all items."""
    method, validation, task = run.build(), run.data.validation, task_of(run)
    one = Targets(validation.users[:1], validation.items[:1], validation.negatives[:1])  # costs nothing
    unvalidated = Task(task.sequences, task.n_items, task.max_length, lambda epoch: one)
    seconds = [epoch["seconds"] for epoch in trained(run, method, unvalidated, epochs).history]
    evaluations = [_evaluate(method, task, validation) for _ in range(EVALUATIONS)]
    predicted = int((run.data.train.lengths - 1).clip(0, task.max_length).sum())
    note = "" if run.backbone == "bert4rec" else f"{predicted:,} positions"  # a cloze's are drawn
    return {"epoch_seconds": typical(seconds), "evaluation_seconds": typical(evaluations)}, note


def _evaluate(method: Method, task: Task, validation: Targets) -> float:
    """Time HR@10 and NDCG@10 among all items; nothing is left out, as RecBole leaves out nothing."""
    began = time.perf_counter()
    histories = task.sequences.take(torch.tensor(validation.users, dtype=torch.int64))
    scorer = Scorer.of(method, task.n_items, task.max_length)
    ranks = rank(scorer, histories, validation.items, task.n_items)
    float(hit_rate(ranks, 10).mean()), float(ndcg(ranks, 10).mean())
    return time.perf_counter() - began


def longest(data: Dataset, max_length: int) -> int:
    """Say how many items a row has at most: all of a user's training items, or the latest T of them."""
    return int(min(data.train.lengths.max(), max_length))


def write_atomic(data: Dataset, max_length: int, folder: Path, name: str) -> None:
    """Write our training sequences and validation items in RecBole's format, for two datasets.

    `<name>` has a row for every training position (the items before it, and its item), as RecBole itself augments
    sequences; `<name>-users` has one row a user. Items without training interactions are listed as well, so that both
    sides rank the same catalogue.
    """
    histories = [items.tolist() for items in data.train]
    prefixes = [
        (user, items[max(0, end - max_length) : end], items[end])
        for user, items in enumerate(histories)
        for end in range(1, len(items))
    ]
    whole = [(user, items[-max_length:], items[-1]) for user, items in enumerate(histories) if items]
    pairs = zip(data.validation.users.tolist(), data.validation.items.tolist(), strict=True)
    held_out = [(user, histories[user][-max_length:], item) for user, item in pairs]
    for dataset, train in ((name, prefixes), (f"{name}-users", whole)):
        (folder / dataset).mkdir(parents=True, exist_ok=True)
        for part, rows in (("train", train), ("valid", held_out)):
            _write(
                folder / dataset / f"{dataset}.{part}.inter",
                ["user_id:token", "item_id_list:token_seq", "item_id:token"],
                [[user, " ".join(map(str, items)), item] for user, items, item in rows],
            )
        _write(folder / dataset / f"{dataset}.item", ["item_id:token"], [[item] for item in range(1, data.n_items + 1)])


def _write(file: Path, header: list[str], rows: list[list]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerows([header, *rows])


def main() -> None:
    """Write the data, or measure our side."""
    job = read_job()
    run = read(job)
    if job["system"] == "data":
        T = run.settings.data.max_length
        write_atomic(run.data, T, Path(job["folder"]), job["name"])
        report({"longest": longest(run.data, T)})
    else:
        report(*ours(run, job["epochs"]))


if __name__ == "__main__":
    main()
