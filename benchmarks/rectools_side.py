"""RecTools' side, in its own environment: its SASRec, trained by its own Lightning module, on our split.

Started with `-P`, without this folder on the path. The job names a folder with `train.csv` (user, item, order) and
`histories.csv`, of what is known before each target. With `epochs` it times epochs and one full ranking; with
`validation.npz` it trains until validation stops it, and writes `rectools.npz`: states of all histories, and items.
"""

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.metrics import NDCG, HitRate, calc_metrics
from rectools.models import SASRecModel

JOB = json.loads(sys.argv.pop())
FOLDER = Path(JOB["folder"])
EVERY = 2
"""Epochs between two looks at validation."""


def trainer() -> Trainer:
    """Train on the CPU, in silence."""
    silent = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    return Trainer(accelerator="cpu", max_epochs=1, enable_checkpointing=False, **silent)


def interactions(name: str) -> pd.DataFrame:
    """Read user, item and order of a table as RecTools wants them."""
    frame = pd.read_csv(FOLDER / name)
    times = pd.Timestamp("2000-01-01") + pd.to_timedelta(frame["order"], unit="s")
    columns = {Columns.User: frame["user"], Columns.Item: frame["item"], Columns.Weight: 1.0, Columns.Datetime: times}
    return pd.DataFrame(columns)


def states(model: SASRecModel, known: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Encode histories: (U, D) of all users, a row each, and the items' vectors (V + 1, D); what is missing is zero."""
    dataset = model.data_preparator.transform_dataset_u2i(Dataset.construct(known), known[Columns.User].unique())
    loader = model.data_preparator.get_dataloader_recommend(dataset, 256)
    users, items = model.lightning_model._get_user_item_embeddings(loader, "cpu")
    of_users = np.zeros((JOB["users"], users.shape[1]), np.float32)
    of_users[dataset.user_id_map.external_ids.astype(int)] = users.numpy()
    of_items = np.zeros((JOB["items"] + 1, users.shape[1]), np.float32)
    names = pd.Series(model.data_preparator.item_id_map.external_ids)  # the first one is the padding's
    real = names.map(lambda name: isinstance(name, int | np.integer)).to_numpy()
    of_items[names[real].astype(int)] = items.detach().numpy()[real]
    return of_users, of_items


def judge(model: SASRecModel, known: pd.DataFrame, held_out: Any) -> float:  # noqa: ANN401 - an opened npz
    """Compute NDCG@10 of the validation items among their negatives."""
    of_users, of_items = states(model, known)
    candidates = np.concatenate([held_out["items"][:, None], held_out["negatives"]], 1)  # (n, 1 + K)
    scores = np.einsum("nd,nkd->nk", of_users[held_out["users"]], of_items[candidates])
    rank = 1 + (scores[:, 1:] > scores[:, :1]).sum(1) + 0.5 * (scores[:, 1:] == scores[:, :1]).sum(1)
    return float(np.where(rank <= 10, 1 / np.log2(rank + 1), 0).mean())


def stopped(model: SASRecModel, dataset: Dataset) -> dict[str, float]:
    """Train until validation has not risen for `patience` epochs; write the best states and items."""
    known, held_out = interactions("train.csv"), np.load(FOLDER / "validation.npz")
    best, best_epoch, epoch = -1.0, 0, 0
    while epoch < JOB["most"] and epoch - best_epoch < JOB["patience"]:
        model.fit_partial(dataset, min_epochs=EVERY, max_epochs=EVERY)
        epoch += EVERY
        value = judge(model, known, held_out)
        if value > best:
            best, best_epoch = value, epoch
            of_users, of_items = states(model, interactions("histories.csv"))
            np.savez(FOLDER / "rectools.npz", states=of_users, items=of_items)
    return {"validation": best, "best_epoch": best_epoch, "epochs": epoch}


def timed(model: SASRecModel, dataset: Dataset) -> dict[str, float]:
    """Time an epoch, after one that warms up, and HR@10 and NDCG@10 of all users among all items."""
    model.fit_partial(dataset, min_epochs=1, max_epochs=1)
    began = time.perf_counter()
    model.fit_partial(dataset, min_epochs=JOB["epochs"], max_epochs=JOB["epochs"])
    epoch = (time.perf_counter() - began) / JOB["epochs"]
    asked = interactions("validation.csv")
    began = time.perf_counter()
    lists = model.recommend(asked[Columns.User].to_numpy(), dataset, k=10, filter_viewed=False)
    calc_metrics({"HR@10": HitRate(10), "NDCG@10": NDCG(10)}, lists, asked)
    return {"epoch_seconds": epoch, "evaluation_seconds": time.perf_counter() - began}


def main() -> None:
    """Do what the job asks, and print it."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    seed_everything(JOB["seed"], verbose=False)
    dataset = Dataset.construct(interactions("train.csv"))
    model = SASRecModel(get_trainer_func=trainer, **JOB["model"])
    values = timed(model, dataset) if JOB.get("epochs") else stopped(model, dataset)
    print(json.dumps({"values": values, "note": ""}), flush=True)


if __name__ == "__main__":
    main()
