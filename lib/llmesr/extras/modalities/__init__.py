"""Stage 21: views of an item beside the text of its prompt, from whatever a dataset has.

A view is a vector for each item that has one, and the knowledge of which have. Missing is the rule: few items are
written about, have a picture, or are known to a graph. Each kind of source is a file of this package.
"""

from collections.abc import Mapping
from importlib import import_module

import numpy as np
import polars as pl
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from llmesr.errors import InputError
from llmesr.extras import ugc
from llmesr.models.inputs import ItemView
from llmesr.models.methods.multiview import TEXT, MultiView
from llmesr.paths import artifact, replacing, results, shown
from llmesr.prepare.dataset import Dataset, save_frame
from llmesr.settings import Settings
from llmesr.tiny import TINY

STAGE = "modalities"
TAIL = "tail_item"
COVERAGE = {
    "view": pl.String,
    "width": pl.Int64,
    "items": pl.Int64,
    "of the tail": pl.Float64,
    "of the head": pl.Float64,
}


def make(settings: Settings, data: Dataset, name: str) -> ItemView:
    """Make one of `modalities.sources`: a kind is a module of this package, with a function `make`.

    Raises:
        InputError: an optional package, its files or its model are missing or at fault, or no item has it.
    """
    source = settings.modalities.sources[name]
    kind = import_module(f"{__name__}.{source.kind}")  # here, since what each needs takes seconds to import
    view = kind.make(settings, data, source)
    if not view.present.any():
        raise InputError(f"the view '{name}' knows no item: take it out of 'datasets.{data.name}.modalities'")
    return view


def run(settings: Settings, data: Dataset) -> dict[str, ItemView]:
    """Make the views that the dataset names (`datasets.<name>.modalities`).

    It writes to `artifacts/<dataset>/modalities/`: users' texts as they were cleaned, `<view>.safetensors`, and last
    `coverage.parquet`; and `results/<dataset>/modalities/coverage.csv`. A dataset that names no view gets an empty
    coverage.

    Raises:
        InputError: an optional package, files or a model are missing or at fault.
    """
    folder = artifact(data.name, STAGE)
    if data.name == TINY and not (synthetic_files := artifact(TINY, "synthetic")).exists():
        from llmesr.extras.modalities import synthetic

        synthetic.write(synthetic_files, data, settings.data.category)
    ugc.save(settings, data)
    views = {}
    for name in settings.data.modalities:
        views[name] = make(settings, data, name)
        with replacing(folder / f"{name}.safetensors") as temporary:
            save_file({part: np.ascontiguousarray(value) for part, value in vars(views[name]).items()}, temporary)
    known = coverage(views, data)
    with replacing(results(data.name, STAGE) / "coverage.csv") as temporary:
        known.write_csv(temporary)
    save_frame(known, folder / "coverage.parquet")
    return views


def coverage(views: Mapping[str, ItemView], data: Dataset) -> pl.DataFrame:
    """Count the items that each view knows: `view`, `width`, `items`, and the shares of tail and of head items."""
    tail = (data.items["tail"] == TAIL).to_numpy()
    rows = []
    for name, view in views.items():
        known = view.present[1:]
        shares = [float(known[part].mean()) if part.any() else 0.0 for part in (tail, ~tail)]
        rows.append((name, view.vectors.shape[1], int(known.sum()), *(round(share, 3) for share in shares)))
    return pl.DataFrame(rows, COVERAGE, orient="row")


def load(dataset: str, name: str) -> ItemView:
    """Load a view that the stage wrote.

    Raises:
        InputError: it is missing or damaged.
    """
    file = artifact(dataset, STAGE) / f"{name}.safetensors"
    if not file.exists():
        raise InputError(
            f"{shown(file)} is missing: put '{name}' into 'datasets.{dataset}.modalities' and run `dvc repro {STAGE}`"
        )
    try:
        return ItemView(**load_file(file))
    except (SafetensorError, TypeError) as error:
        raise InputError(f"{shown(file)} is damaged ({error}): delete it and run `dvc repro {STAGE}`") from None


def views(settings: Settings, method: str) -> dict[str, ItemView]:
    """Load the views that a method fuses beside the text: those of `methods.multiview.views`, none for other methods.

    `experiments.run` takes this as `load_views`.

    Raises:
        InputError: one of them was not made or is damaged.
    """
    if method != MultiView.name:
        return {}
    return {name: load(settings.dataset, name) for name in settings.methods.multiview.views if name != TEXT}
