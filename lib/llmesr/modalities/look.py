"""Looks at views, for the lessons."""

from collections.abc import Mapping

import polars as pl

from llmesr.embed import View
from llmesr.embed.look import nearest_items
from llmesr.prepare.dataset import Dataset

TAIL = "tail_item"


def coverage(views: Mapping[str, View], data: Dataset) -> pl.DataFrame:
    """Count the items that each view knows: `view`, `width`, `items`, and the share of tail and of head items."""
    tail = (data.items["tail"] == TAIL).to_numpy()
    rows = []
    for name, view in views.items():
        known = view.present[1:]
        shares = [float(known[part].mean()) if part.any() else 0.0 for part in (tail, ~tail)]
        rows.append((name, view.vectors.shape[1], int(known.sum()), *(round(share, 3) for share in shares)))
    return pl.DataFrame(rows, ["view", "width", "items", "of the tail", "of the head"], orient="row")


def neighbours(views: Mapping[str, View], data: Dataset, item: int, k: int) -> pl.DataFrame:
    """List the k items that are nearest to one in each view, centred; `–` where a view does not know it."""
    found = {}
    for name, view in views.items():
        if view.present[item]:
            centred = (view.vectors - view.vectors[view.present].mean(0)) * view.present[:, None]
            found[name] = nearest_items(centred, data, item, k + 1)["title"].to_list()[1:]
        else:
            found[name] = ["–"] * k
    return pl.DataFrame(found)
