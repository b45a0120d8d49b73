"""Recommendations for many users at once, in bounded memory."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from torch import Tensor

from llmesr.errors import InputError
from llmesr.models.ragged import Ragged
from llmesr.models.scoring import users_at_once, without
from llmesr.paths import replacing

if TYPE_CHECKING:
    from llmesr.recommend.recommender import Recommender


def best(recommender: "Recommender", histories: Ragged, k: int) -> tuple[Tensor, Tensor]:
    """Find the k best items of B histories that these do not hold: scores and item numbers, (B, k) each.

    Where a user has had so many that there are fewer, minus infinity stands in their place.
    """
    scores = without(recommender.scores(histories), histories)
    return tuple(scores.topk(min(k, scores.shape[1] - 1)))


def write(recommender: "Recommender", histories: pl.DataFrame, file: Path, k: int) -> int:
    """Write everybody's top k, as `Recommender.export` says."""
    if lacking := {"user_id", "item_id"} - set(histories.columns):
        raise InputError(f"the histories lack the column '{min(lacking)}': add it")
    catalogue = recommender.items.select("item_id").with_row_index("row", offset=1)
    histories = histories.select("user_id", pl.col("item_id").cast(pl.String))  # ids of digits are read as numbers
    numbered = histories.join(catalogue, on="item_id", how="left", maintain_order="left")
    if unknown := numbered.filter(pl.col("row").is_null())["item_id"].unique(maintain_order=True).to_list():
        raise InputError(f"item {unknown[0]!r} is not in the catalogue, nor are {len(unknown) - 1} others")
    users = numbered.group_by("user_id", maintain_order=True).agg("row")
    ids = recommender.items["item_id"]
    block = users_at_once(len(ids) + 1)
    with replacing(file) as temporary:
        writer = None
        for part in users.iter_slices(block):
            listed = _listed(recommender, part, ids, k).to_arrow()
            writer = writer or pq.ParquetWriter(temporary, listed.schema)
            writer.write_table(listed)
        if writer is None:
            raise InputError("there are no histories to recommend for: give at least one row")
        writer.close()
    return users.height


def _listed(recommender: "Recommender", users: pl.DataFrame, ids: pl.Series, k: int) -> pl.DataFrame:
    lengths = users["row"].list.len().to_numpy()
    histories = Ragged.of(users["row"].explode().to_numpy().astype(np.int64), lengths.astype(np.int64))
    values, found = best(recommender, histories, k)
    top = values.shape[1]
    frame = pl.DataFrame(
        {
            "user_id": users["user_id"].gather(np.repeat(np.arange(users.height), top)),
            "rank": np.tile(np.arange(1, top + 1, dtype=np.int32), users.height),
            "item_id": ids.gather((found.flatten() - 1).numpy()),
            "score": values.flatten().numpy(),
        }
    )
    return frame.filter(pl.col("score").is_finite())
