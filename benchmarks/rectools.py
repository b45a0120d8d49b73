"""`python -m benchmarks.rectools`: our SASRec beside RecTools' own, same loss, data, split and stopping rule.

Written to `results/<dataset>/fidelity/rectools.csv`. What a comparison of times needs is here as well.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import torch
from llmesr import embed, evaluate, retrieve
from llmesr.errors import InputError
from llmesr.evaluate.groups import families
from llmesr.models.scoring import Scores
from llmesr.paths import replacing, results, shown
from llmesr.prepare import dataset
from llmesr.prepare.dataset import Dataset
from llmesr.runs.inputs import model_inputs
from llmesr.runs.pool import train_all
from llmesr.runs.store import Run
from llmesr.sequences import Sequences
from llmesr.settings import Settings, load
from torch import Tensor

from benchmarks.inputs import read
from benchmarks.recbole import longest
from benchmarks.timing import Side, interpreter, measure, report

ENVIRONMENT = "benchmarks/.venv-rectools"
LOSSES = {"bce": "BCE", "cross_entropy": "softmax"}
"""What we call a loss, and what RecTools calls it."""


class Given(Scores):
    """Scores of states and item vectors from elsewhere; histories come in the order of the states, over and over."""

    def __init__(self, states: np.ndarray, items: np.ndarray) -> None:
        self.states, self.items, self.done = torch.from_numpy(states), torch.from_numpy(items), 0

    def __call__(self, histories: Sequences) -> Tensor:
        """Score all items for the next histories: (B, V + 1)."""
        rows = self.states[self.done : self.done + len(histories)]
        self.done = (self.done + len(histories)) % len(self.states)
        return rows @ self.items.T


def side(settings: Settings, folder: Path, loss: str, sizes: dict[str, int], **more: int) -> Side:
    """Describe RecTools' process: our sizes, and the rest by its defaults.

    Args:
        settings: ours.
        folder: with the tables of `write_tables`.
        loss: a name of ours.
        sizes: `users`, `items`, and `longest`, the most items that a sequence has.
        more: what its job says else.
    """
    sasrec, model = settings.backbones.sasrec, settings.model
    options = {
        "n_blocks": sasrec.blocks,
        "n_heads": sasrec.heads,
        "n_factors": model.hidden,
        "dropout_rate": model.dropout,
        "session_max_len": sizes["longest"],
        "batch_size": settings.train.batch_size,
        "lr": settings.train.learning_rate,
        "loss": LOSSES[loss],
        "n_negatives": 1,
    }
    job = {"folder": str(folder), "model": options, "users": sizes["users"], "items": sizes["items"], **more}
    command = (interpreter(ENVIRONMENT), "-P", str(Path(__file__).with_name("rectools_side.py")))
    return Side("RecTools", command, job)


def sizes(data: Dataset, max_length: int) -> dict[str, int]:
    """Say how many users and items there are, and how many items a sequence has at most."""
    return {"users": data.n_users, "items": data.n_items, "longest": longest(data, max_length)}


def write_tables(data: Dataset, known: Sequences, folder: Path) -> None:
    """Write training interactions, histories and validation items in the form that RecTools' side reads."""
    for name, histories in (("train", data.train), ("histories", known)):
        columns = {"user": histories.row, "item": histories.items, "order": histories.column}
        pl.DataFrame({key: value.numpy() for key, value in columns.items()}).write_csv(folder / f"{name}.csv")
    held_out = data.validation
    order = np.full(len(held_out.users), int(data.train.lengths.max()))
    pl.DataFrame({"user": held_out.users, "item": held_out.items, "order": order}).write_csv(folder / "validation.csv")
    np.savez(folder / "validation.npz", users=held_out.users, items=held_out.items, negatives=held_out.negatives)


def compare(settings: Settings, seeds: tuple[int, ...]) -> pl.DataFrame:
    """Train both, and measure both on the test split.

    Raises:
        InputError: an earlier stage has not been run, RecTools' environment is missing, or a run failed.
    """
    data = dataset.load(settings.dataset)
    inputs = model_inputs(embed.load(data.name), retrieve.load(data.name))
    runs = [
        (loss, Run(settings.changed({"train.loss": loss}), "sasrec", "base", seed, data, inputs))
        for loss in LOSSES
        for seed in seeds
    ]
    trained = train_all([run for _, run in runs], "ours")
    split = evaluate.read_test_split(data, torch.device("cpu"))
    grouped, rows = families(split.targets, data), []
    T, rule = settings.data.max_length, {"most": settings.train.epochs, "patience": settings.train.patience}
    for (loss, run), ours in zip(runs, trained, strict=True):
        with TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_tables(data, split.inputs, folder)
            measure(side(settings, folder, loss, sizes(data, T), **rule, seed=run.seed), folder)
            found = np.load(folder / "rectools.npz")
            theirs = Given(found["states"][split.targets.users], found["items"])
        systems = {
            "ours": evaluate.rank_run(ours, split, data, settings).ranks,
            "RecTools": evaluate.rank_scores(theirs, split, data, settings),
        }
        for system, ranks_of in systems.items():
            about = {"dataset": data.name, "loss": loss, "system": system, "seed": run.seed}
            for protocol, ranks in ranks_of.items():
                measured = evaluate.measure(ranks, grouped, settings)
                rows += [{**about, "protocol": protocol, **row} for row in measured]
    return pl.DataFrame(rows)


def main() -> None:
    """Measure, and write what was measured."""
    parser = argparse.ArgumentParser(prog="benchmarks.rectools", description="Our SASRec beside RecTools'.")
    parser.add_argument("job", nargs="?", help="of `python -m benchmarks`: write the tables alone")
    parser.add_argument("--params", default="params.yaml", help="settings file (default: %(default)s)")
    parser.add_argument("--seeds", default="42,43,44", help="by comma (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.job:
        run = read(json.loads(arguments.job))
        write_tables(run.data, run.data.train, Path(json.loads(arguments.job)["folder"]))
        report(sizes(run.data, run.settings.data.max_length))
        return
    try:
        settings = load(arguments.params)
        found = compare(settings, tuple(int(seed) for seed in arguments.seeds.split(",")))
    except InputError as error:
        parser.exit(1, f"{error}\n")
    file = results(settings.dataset, "fidelity") / "rectools.csv"
    with replacing(file) as temporary:
        found.write_csv(temporary, float_precision=6)
    print(f"written: {shown(file)}")


if __name__ == "__main__":
    main()
