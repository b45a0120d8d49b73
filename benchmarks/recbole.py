"""Plain backbones for RecBole to be compared with: our epoch and full ranking, and the same data as atomic files."""

import csv
import time
from pathlib import Path

import torch
from llmesr.metrics import hit_rate, ndcg
from llmesr.models.methods import Method
from llmesr.models.scoring import full_ranks, item_table, represent
from llmesr.prepare.dataset import Dataset, Targets
from llmesr.train.loop import Task

from benchmarks.engine import trained, typical
from benchmarks.given import Given, read
from benchmarks.timing import say, told

EVALUATIONS = 3


def ours(given: Given, backbone: str, epochs: int) -> tuple[dict[str, float], str]:
    """Train for some epochs without validating, then rank the validation items of all users in the whole catalogue."""
    model = given.build(backbone, "none")
    asked = given.data.validation
    one = Targets(asked.users[:1], asked.items[:1], asked.negatives[:1])  # a validation that costs nothing
    task = Task(given.task.sequences, given.data.n_items, given.task.max_length, lambda epoch: one)
    seconds = [epoch["seconds"] for epoch in trained(given, model, task, epochs).history]
    evaluations = [_evaluate(given, model, task) for _ in range(EVALUATIONS)]
    predicted = int((given.data.train.lengths - 1).clip(0, task.max_length).sum())
    note = "" if backbone == "bert4rec" else f"{predicted:,} positions"  # a cloze's are drawn
    return {"epoch_seconds": typical(seconds), "evaluation_seconds": typical(evaluations)}, note


def _evaluate(given: Given, model: Method, task: Task) -> float:
    """Time HR@10 and NDCG@10 among all items; nothing is left out, as RecBole leaves out nothing."""
    began = time.perf_counter()
    asked = given.data.validation
    users = torch.tensor(asked.users, dtype=torch.int64)
    states = represent(model, task.sequences, users, task.n_items, task.max_length)
    ranks = full_ranks(states, item_table(model, task.n_items), asked.items, None)
    float(hit_rate(ranks, 10).mean()), float(ndcg(ranks, 10).mean())
    return time.perf_counter() - began


def longest(data: Dataset, max_length: int) -> int:
    """Say how many items a row has at most: all of a user's training items, or the latest T of them."""
    return int(min(data.train.lengths.max(), max_length))


def write_atomic(data: Dataset, max_length: int, folder: Path, name: str) -> None:
    """Write our training sequences and validation items in RecBole's format, for two datasets.

    `<name>` has a row for every training position (the items before it, and its item), as RecBole itself augments
    sequences; `<name>-users` has one row a user. Items without training interactions are told as well, so that both
    sides rank the same catalogue.
    """
    histories = [data.train[user] for user in range(data.n_users)]
    prefixes = [
        (user, items[max(0, end - max_length) : end], items[end])
        for user, items in enumerate(histories)
        for end in range(1, len(items))
    ]
    whole = [(user, items[-max_length:], items[-1]) for user, items in enumerate(histories) if len(items)]
    asked = data.validation
    held_out = [
        (user, histories[user][-max_length:], item) for user, item in zip(asked.users, asked.items, strict=True)
    ]
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
    job = told()
    given = read(job["params"], job["changes"])
    if job["system"] == "data":
        T = given.settings.model.max_length
        write_atomic(given.data, T, Path(job["folder"]), job["name"])
        say({"longest": longest(given.data, T)})
    else:
        say(*ours(given, job["backbone"], job["epochs"]))


if __name__ == "__main__":
    main()
