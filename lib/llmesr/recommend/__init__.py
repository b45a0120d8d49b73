"""Stage 17: trained runs as recommenders to use, and everybody's lists."""

from pathlib import Path

import numpy as np
import polars as pl

from llmesr import train
from llmesr.embed import Embeddings
from llmesr.paths import artifact
from llmesr.prepare.dataset import Dataset
from llmesr.recommend.recommender import Recommender
from llmesr.retrieve import Neighbours
from llmesr.settings import Settings

__all__ = ["Recommender", "histories", "run", "saved"]


def saved(settings: Settings, method: str) -> Path:
    """Folder of a recommender that the stage writes."""
    chosen = settings.recommend
    return artifact(settings.data.name, "recommend") / f"{chosen.backbone}-{method}-{chosen.seed}"


def run(settings: Settings, data: Dataset, embeddings: Embeddings, similar: Neighbours) -> list[Path]:
    """Do the whole stage: save a recommender of each of `recommend.methods`, and list everybody's items by the first.

    The histories are all that is known but the test split.

    Returns:
        the folders, below `artifacts/<dataset>/recommend/`; `lists.parquet` lies beside them.

    Raises:
        InputError: a run is missing.
    """
    chosen = settings.recommend
    folders = [saved(settings, method) for method in chosen.methods]
    for method, folder in zip(chosen.methods, folders, strict=True):
        trained = train.load(settings, embeddings, similar, chosen.backbone, method, chosen.seed)
        Recommender.of(settings, data, embeddings.items[1:], trained).save(folder)
    listed = artifact(data.name, "recommend") / "lists.parquet"
    Recommender.load(folders[0]).export(histories(data), listed, chosen.k)
    return folders


def histories(data: Dataset) -> pl.DataFrame:
    """Lay out what everybody has had, but the test split: `user_id`, `item_id` in time order."""
    users = np.repeat(np.arange(data.n_users), data.train.lengths)
    asked = data.validation
    rows = pl.DataFrame({"user": np.append(users, asked.users), "item": np.append(data.train.items, asked.items)})
    ids = data.users["user_id"].gather(rows["user"]), data.items["item_id"].gather(rows["item"] - 1)
    return rows.with_columns(*ids).sort("user", maintain_order=True).select("user_id", "item_id")
