"""What is left of accuracy when views go missing: trained methods, with a view hidden from a share of the items."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np
import polars as pl
import torch

from llmesr.devices import pick_device
from llmesr.models.base import Method
from llmesr.models.methods.multiview import Views
from llmesr.runs.pool import train_all
from llmesr.runs.store import Run
from llmesr.train.distributed import Distributed
from llmesr.train.loop import Task, validate

COLUMNS = {
    "variant": pl.String,
    "seed": pl.Int64,
    "hidden": pl.String,
    "share": pl.Float64,
    "metric": pl.String,
    "value": pl.Float64,
}


def hide(table: Views, view: str, share: float, seed: int) -> None:
    """Hide a view from a random share of the items, the same items whatever the view.

    Args:
        table: of a method; it is changed.
        view: its name.
        share: from 0 to 1; a greater share hides it from the same items and more.
        seed: of the lottery.
    """
    lottery = torch.from_numpy(np.random.default_rng(seed).random(len(table.present)))  # (V + 2,)
    table.present[:, table.names.index(view)] &= (lottery >= share).to(table.present.device)


def run(runs: Mapping[str, Sequence[Run]], shares: Sequence[float]) -> pl.DataFrame:
    """Validate the runs of the multi-view method with each view but the ID hidden from shares of the items.

    One view is hidden at a time. Runs that are not in the store are trained first.

    Args:
        runs: of each variant, as `experiments.runs` lists them.
        shares: of the items, from 0 to 1.

    Returns:
        `variant, seed, hidden, share, metric, value`, on validation items against their negatives.

    Raises:
        InputError: a run cannot be trained or loaded.
    """
    rows = []
    for variant, chosen in runs.items():
        for run, trained in zip(chosen, train_all(chosen, title=variant), strict=True):
            rows += [(variant, run.seed, *row) for row in _measure(run, trained.method, shares)]
    return pl.DataFrame(rows, COLUMNS, orient="row")


def _measure(run: Run, method: Method, shares: Sequence[float]) -> Iterator[tuple[str, float, str, float]]:
    """Validate a trained method for each view and share: (hidden view, share, metric, value)."""
    distributed = Distributed(pick_device(run.settings.train.device))
    method = method.to(distributed.device)
    sequences = run.data.train.to(distributed.device)
    task = Task(sequences, run.data.n_items, run.settings.data.max_length, lambda _: run.data.validation)
    table: Views = method.table
    everything = table.present.clone()
    for view, share in product(table.names, shares):
        table.present.copy_(everything)
        hide(table, view, share, run.seed)
        for metric, value in validate(method, task, distributed).items():
            yield view, share, metric, value
