"""Recommendations for many users at once, in bounded memory."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from torch import Tensor

from llmesr.errors import InputError
from llmesr.models.scoring import Scores, users_at_once, without
from llmesr.paths import replacing
from llmesr.sequences import Sequences


class Parquet:
    """Writes frames to a parquet file, one after the other."""

    def __init__(self, file: Path) -> None:
        self.file, self.writer = file, None

    def write(self, frame: pl.DataFrame) -> None:
        """Append a frame."""
        table = frame.to_arrow()
        self.writer = self.writer or pq.ParquetWriter(self.file, table.schema)
        self.writer.write_table(table)

    def close(self) -> None:
        """Write the end of the file."""
        self.writer.close()


class Csv:
    """Writes frames to a CSV file, one after the other."""

    def __init__(self, file: Path) -> None:
        self.stream, self.header = file.open("wb"), True

    def write(self, frame: pl.DataFrame) -> None:
        """Append a frame."""
        frame.write_csv(self.stream, include_header=self.header)
        self.header = False

    def close(self) -> None:
        """Write what is left."""
        self.stream.close()


WRITERS = {".parquet": Parquet, ".csv": Csv}


def best(scores: Scores, histories: Sequences, k: int, *, exclude_seen: bool = True) -> tuple[Tensor, Tensor]:
    """Find the k best items of B histories: scores and item numbers, (B, k) each.

    With `exclude_seen` items of the history are left out. Where a user has had so many that there are fewer than k,
    minus infinity stands in their place.
    """
    values = without(scores(histories), histories if exclude_seen else None)
    return tuple(values.topk(min(k, values.shape[1] - 1)))


def write(
    scores: Scores,
    items: pl.Series,
    histories: pl.DataFrame,
    file: Path,
    k: int,
    *,
    exclude_seen: bool = True,
    skip_unknown: bool = False,
) -> int:
    """Write everybody's top k, as `Recommender.export` says; `items` are the ids of items 1 … V."""
    if file.suffix not in WRITERS:
        raise InputError(f"'{file.name}' ends neither in .parquet nor in .csv: rename it")
    if lacking := {"user_id", "item_id"} - set(histories.columns):
        raise InputError(f"the histories lack the column '{min(lacking)}': add it")
    catalogue = pl.DataFrame({"item_id": items}).with_row_index("row", offset=1)
    ids = pl.col("item_id").cast(pl.String).str.strip_chars()  # ids of digits are read as numbers
    if "timestamp" in histories.columns:
        histories = histories.sort("timestamp", maintain_order=True)
    histories = histories.select("user_id", ids)
    for column in ("user_id", "item_id"):
        empty = histories[column].is_null()
        if empty.any():
            raise InputError(f"the histories, row {int(empty.arg_max()) + 1}: '{column}' is empty: delete the row")
    numbered = histories.join(catalogue, on="item_id", how="left", maintain_order="left")
    if unknown := numbered.filter(pl.col("row").is_null())["item_id"].unique(maintain_order=True).to_list():
        if not skip_unknown:
            others = f", nor are {len(unknown) - 1} others" if len(unknown) > 1 else ""
            raise InputError(
                f"item {unknown[0]!r} is not in the catalogue{others}: add new items by `add_items`, or pass "
                "`skip_unknown=True`"
            )
        numbered = numbered.drop_nulls("row")
    users = numbered.group_by("user_id", maintain_order=True).agg("row")
    if not users.height:
        raise InputError("there are no histories to recommend for: give at least one row")
    with replacing(file) as temporary:
        writer = WRITERS[file.suffix](temporary)
        for block in users.iter_slices(users_at_once(len(items) + 1)):
            writer.write(_lists(scores, block, items, k, exclude_seen=exclude_seen))
        writer.close()
    return users.height


def _lists(scores: Scores, users: pl.DataFrame, items: pl.Series, k: int, *, exclude_seen: bool) -> pl.DataFrame:
    """Lay out the lists of a block of users: `user_id`, `rank`, `item_id`, `score`."""
    histories = Sequences.of(users["row"].explode().to_numpy(), users["row"].list.len().to_numpy())
    values, rows = best(scores, histories, k, exclude_seen=exclude_seen)
    top = values.shape[1]
    frame = pl.DataFrame(
        {
            "user_id": users["user_id"].gather(np.repeat(np.arange(users.height), top)),
            "rank": np.tile(np.arange(1, top + 1, dtype=np.int32), users.height),
            "item_id": items.gather((rows.flatten() - 1).numpy()),
            "score": values.flatten().numpy(),
        }
    )
    return frame.filter(pl.col("score").is_finite())
