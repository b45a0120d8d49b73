"""RecBole's side, in RecBole's own environment: its loader, its trainer, its full ranking, unchanged.

Started with `-P`, without this folder on the path, whose `recbole.py` would else be found first.
"""

import itertools
import json
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import torch

JOB = json.loads(sys.argv.pop())  # before RecBole, which reads the command line for settings of its own
warnings.simplefilter("ignore")

from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.utils import get_model, get_trainer, init_seed  # noqa: E402

WARM_UP = 2
"""Batches that are not timed."""


class Share:
    """As many of a loader's batches as fit into a time, all of them if they do.

    Attributes:
        done: how many there were.
    """

    def __init__(self, loader: Any, seconds: float) -> None:  # noqa: ANN401 - RecBole's loaders have no common type
        self.loader, self.seconds, self.done = loader, seconds, 0

    def __iter__(self) -> Iterator[Any]:
        began, self.done = time.perf_counter(), 0
        for batch in self.loader:
            self.done += 1
            yield batch
            if time.perf_counter() - began > self.seconds:
                return

    def __len__(self) -> int:
        return len(self.loader)


def main() -> None:
    """Train a share of an epoch, scale to the whole of it, and rank the whole catalogue once."""
    torch.set_num_threads(1)
    config = Config(model=JOB["model"], dataset=JOB["dataset"], config_dict=JOB["config"])
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train, valid, _ = data_preparation(config, dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(
        config, get_model(config["model"])(config, train._dataset).to(config["device"])
    )
    trainer._train_epoch(itertools.islice(train, WARM_UP), 0)
    share = Share(train, JOB["budget_seconds"])
    began = time.perf_counter()
    trainer._train_epoch(share, 1)
    epoch = (time.perf_counter() - began) * len(share) / share.done
    began = time.perf_counter()
    trainer.evaluate(valid, load_best_model=False)
    values = {"epoch_seconds": epoch, "evaluation_seconds": time.perf_counter() - began}
    whole = share.done == len(share)
    note = f"{len(train._dataset):,} rows in {len(share)} batches" + (
        "" if whole else f", timed on the first {share.done}"
    )
    print(json.dumps({"values": values, "note": note}), flush=True)


if __name__ == "__main__":
    main()
