"""Looks at views, for the lessons."""

from collections.abc import Mapping

import polars as pl

from llmesr.models.inputs import ItemView
from llmesr.prepare.dataset import Dataset
from llmesr.report.plots.embed import nearest_items


def neighbours(views: Mapping[str, ItemView], data: Dataset, item: int, k: int) -> pl.DataFrame:
    """List the titles of the k nearest items to one, a column a view; `–` where a view does not know it.

    Vectors are centred first, and compared by cosine.
    """
    columns = {}
    for name, view in views.items():
        if view.present[item]:
            centred = (view.vectors - view.vectors[view.present].mean(0)) * view.present[:, None]
            columns[name] = nearest_items(centred, data, item, k + 1)["title"].to_list()[1:]
        else:
            columns[name] = ["–"] * k
    return pl.DataFrame(columns)
