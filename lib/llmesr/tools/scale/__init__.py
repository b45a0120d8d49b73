"""How time and memory grow: the stages on synthetic data of growing size, each in a process of its own."""

import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import linregress

from llmesr import prepare, retrieve
from llmesr.embed import Embeddings
from llmesr.paths import artifact, replacing, results, run_store
from llmesr.prepare import dataset
from llmesr.prepare.dataset import Dataset
from llmesr.runs.inputs import model_inputs
from llmesr.runs.store import Run
from llmesr.runs.training import train
from llmesr.settings import Settings
from llmesr.tools.scale.generate import interactions, vectors

METHOD = "llmesr"
STEPS = ("prepare", "retrieve", "train")
GROWS = ("users", "items", "length")


@dataclass(frozen=True)
class Size:
    """Users U, items V, and interactions a user."""

    users: int
    items: int
    length: int


@dataclass(frozen=True)
class Cost:
    """What a step took: wall seconds of the step itself, and the largest memory of its process."""

    seconds: float
    peak_mb: float


def sizes(settings: Settings) -> list[Size]:
    """List what is measured: the base, each of users, items and length grown alone, and the largest."""
    base = Size(*settings.scale.base)
    grown = [
        Size(**{**asdict(base), name: factor * getattr(base, name)})
        for name in GROWS
        for factor in settings.scale.factors
    ]
    return list(dict.fromkeys([base, *grown, Size(*settings.scale.largest)]))


def run(settings: Settings) -> pl.DataFrame:
    """Measure all sizes; write `results/<scale.name>/scale/scale.csv` after each, so that none is lost.

    Returns:
        a row a size and step: `users, items, length, interactions, step, seconds, peak_mb`.
    """
    rows: list[dict[str, object]] = []
    for size in sizes(settings):
        rows += measure(settings, size)
        with replacing(results(settings.scale.name, "scale") / "scale.csv") as temporary:
            pl.DataFrame(rows).write_csv(temporary, float_precision=3)
    return pl.DataFrame(rows)


def measure(settings: Settings, size: Size) -> list[dict[str, object]]:
    """Prepare, retrieve and train an epoch, validation included, at one size; leave nothing behind."""
    own, rows = on_synthetic_data(settings), []
    try:
        for step in STEPS:
            cost = _alone(_STEPS[step], own, size)
            rows.append({**asdict(size), "step": step, **asdict(cost)})
        count = len(dataset.load(own.dataset).train.items) + 2 * size.users
    finally:
        for folder in (artifact(own.dataset, ""), run_store(own.dataset)):
            shutil.rmtree(folder, ignore_errors=True)
    return [{"interactions": count, **row} for row in rows]


def growth(costs: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Fit seconds ∝ size^b where one of users, items and length grows alone, by least squares on logarithms.

    Returns:
        a row a step and what grows: `step, grows, exponent, error` (a standard error).
    """
    base, rows = Size(*settings.scale.base), []
    for step in STEPS:
        for name in GROWS:
            others = {other: getattr(base, other) for other in GROWS if other != name}
            kept = costs.filter(step=step, **others).sort(name)
            fit = linregress(kept[name].log().to_numpy(), kept["seconds"].log().to_numpy())
            rows.append({"step": step, "grows": name, "exponent": fit.slope, "error": fit.stderr})
    return pl.DataFrame(rows)


def on_synthetic_data(settings: Settings) -> Settings:
    """Turn the settings to the synthetic data: its own name, one epoch, larger batches, all cores."""
    scale = settings.scale
    return settings.changed(
        {
            "dataset": scale.name,
            "train.epochs": 1,
            "train.batch_size": scale.batch_size,
            "train.threads": multiprocessing.cpu_count(),
        }
    )


def _alone(step: Callable[[Settings, Size], float], settings: Settings, size: Size) -> Cost:
    """Call a step in a fresh process, whose peak memory is then its own: a fork of one that has only imported this."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_watched, step, settings, size).result()


def _watched(step: Callable[[Settings, Size], float], settings: Settings, size: Size) -> Cost:
    seconds = step(settings, size)
    return Cost(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _prepare(settings: Settings, size: Size) -> float:
    rng = np.random.default_rng(settings.prepare.seed)
    with tempfile.TemporaryDirectory() as folder:
        interactions(size.users, size.items, size.length, rng).write_parquet(Path(folder) / "interactions.parquet")
        items = pl.DataFrame({"item_id": np.arange(size.items)})
        items = items.with_columns(title="item " + pl.col("item_id").cast(pl.String))
        items.write_parquet(Path(folder) / "items.parquet")
        own = settings.changed({"data.folder": folder})
        return _timed(lambda: prepare.run(own))


def _retrieve(settings: Settings, size: Size) -> float:
    data = dataset.load(settings.dataset)
    embeddings = _embeddings(settings, data)
    return _timed(lambda: retrieve.run(settings, data, embeddings))


def _train(settings: Settings, size: Size) -> float:
    data = dataset.load(settings.dataset)
    inputs = model_inputs(_embeddings(settings, data), retrieve.load(settings.dataset))
    run = Run(settings, settings.experiments.backbone, METHOD, settings.experiments.seeds[0], data, inputs)
    return train(run).history[0]["seconds"]


_STEPS = {"prepare": _prepare, "retrieve": _retrieve, "train": _train}


def _timed(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def _embeddings(settings: Settings, data: Dataset) -> Embeddings:
    """Draw what stage 02 would hand on."""
    rng, width = np.random.default_rng(settings.prepare.seed), settings.scale.width
    items = np.zeros((data.n_items + 1, width), np.float32)
    items[1:] = vectors(data.items["item_id"].cast(pl.Int64).to_numpy(), width, rng)
    users = vectors(np.arange(data.n_users), width, rng)
    return Embeddings(items, np.ascontiguousarray(items[:, : settings.model.hidden]), users)
