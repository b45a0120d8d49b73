"""Stage 17: trained runs as recommenders to use, and everybody's lists."""

from pathlib import Path

import numpy as np
import polars as pl

from llmesr.models.inputs import ModelInputs
from llmesr.paths import artifact
from llmesr.prepare.dataset import Dataset
from llmesr.recommend.recommender import Recommender
from llmesr.runs.matrix import matrix_runs
from llmesr.runs.pool import train_all
from llmesr.settings import Settings

__all__ = ["Recommender", "histories", "run", "saved"]


def saved(settings: Settings, method: str) -> Path:
    """Folder of a recommender that the stage writes."""
    chosen = settings.recommend
    return artifact(settings.dataset, "recommend") / f"{chosen.backbone}-{method}-{chosen.seed}"


def run(settings: Settings, data: Dataset, inputs: ModelInputs) -> list[Path]:
    """Do the whole stage: save a recommender of each of `recommend.methods`, and list everybody's items by the first.

    The histories are all that is known but the test split. Runs that the store lacks are trained.

    Returns:
        the folders, below `artifacts/<dataset>/recommend/`; `lists.parquet` lies beside them.

    Raises:
        InputError: a run failed.
    """
    chosen = settings.recommend
    own = {"methods": chosen.methods, "backbones": [chosen.backbone], "seeds": [chosen.seed]}
    runs = matrix_runs(settings, data, inputs, **own)
    folders = [saved(settings, run.method) for run in runs]
    for run, trained, folder in zip(runs, train_all(runs, "recommenders"), folders, strict=True):
        Recommender.of(run, trained).save(folder)
    lists = artifact(settings.dataset, "recommend") / "lists.parquet"
    Recommender.load(folders[0]).export(histories(data), lists, chosen.k)
    return folders


def histories(data: Dataset) -> pl.DataFrame:
    """Lay out what everybody has had, but the test split: `user_id`, `item_id` in time order."""
    user = np.append(data.train.row.numpy(), data.validation.users)
    item = np.append(data.train.items.numpy(), data.validation.items)
    ids = data.users["user_id"].gather(user), data.items["item_id"].gather(item - 1)
    rows = pl.DataFrame({"user": user, "user_id": ids[0], "item_id": ids[1]})
    return rows.sort("user", maintain_order=True).select("user_id", "item_id")
