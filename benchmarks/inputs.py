"""What our own measurements start from: a run under the settings of the job, on what stages 01 to 03 made."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from llmesr import embed, retrieve
from llmesr.models.base import Method
from llmesr.prepare import dataset
from llmesr.runs.inputs import model_inputs
from llmesr.runs.store import Run
from llmesr.runs.training import soft_targets, validation_targets
from llmesr.settings import load
from llmesr.train.distributed import Distributed
from llmesr.train.loop import Fitted, Task, fit

ALONE = Distributed(torch.device("cpu"))


def read(job: dict) -> Run:
    """Read what a measurement needs, and compute on one thread of the CPU from here on.

    Args:
        job: the settings file (`params`), keys with other values (`changes`), perhaps `backbone` and `method`.

    Raises:
        InputError: the settings are at fault, or an earlier stage has not been run.
    """
    torch.set_num_threads(1)
    settings = load(job["params"], {"train.device": "cpu", **job["changes"]})
    data = dataset.load(settings.dataset)
    inputs = model_inputs(embed.load(data.name), retrieve.load(data.name))
    backbone, method = job.get("backbone", "sasrec"), job.get("method", "base")
    return Run(settings, backbone, method, settings.matrix.seeds[0], data, inputs)


def task_of(run: Run) -> Task:
    """Give what a run learns from, and its validation targets."""
    length, soft = run.settings.data.max_length, soft_targets(run, ALONE.device)
    return Task(run.data.train, run.data.n_items, length, validation_targets(run), soft)


def trained(run: Run, method: Method, task: Task, epochs: int) -> Fitted:
    """Train as the pipeline does, but for exactly so many epochs, and keep nothing."""
    settings = run.train_settings.model_copy(update={"epochs": epochs, "patience": epochs + 1})
    with TemporaryDirectory() as folder:
        return fit(method, task, settings, run.seed, Path(folder) / "checkpoint.pt", "", ALONE)


def typical(seconds: list[float]) -> float:
    """Take the median of repeated measurements, but for the first, which warms up, if it is not the only one."""
    return float(np.median(seconds[1:] or seconds))
