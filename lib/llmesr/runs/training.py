"""Train one run and put it into the store."""

import resource
import time
from collections.abc import Callable

import numpy as np
import torch
from safetensors.torch import save_file

from llmesr.devices import cpu_threads
from llmesr.errors import InputError
from llmesr.models.base import Method
from llmesr.models.registry import METHODS
from llmesr.models.whitening import whiten
from llmesr.paths import replacing
from llmesr.prepare.dataset import Dataset, Targets, save_json
from llmesr.prepare.split import draw_negatives
from llmesr.runs.store import Run, TrainedRun
from llmesr.similarity import text_similarity
from llmesr.train import adversary
from llmesr.train.distributed import Distributed
from llmesr.train.loop import Fitted, Task, context, fit, validate
from llmesr.train.losses import SoftTargets


def train(run: Run, *, progress: bool = False) -> TrainedRun:
    """Train a run, unless it is in the store; what it starts from is trained first.

    Raises:
        InputError: the loss is not finite, the checkpoint is damaged, or the settings do not fit together.
    """
    distributed = Distributed.join(run.settings.train.device)
    if not distributed.broadcast(run.is_trained):
        start = train(run.start, progress=progress) if run.start else None
        with cpu_threads(run.settings.train.threads):
            return _train(run, start, distributed, progress=progress)
    return run.load()


def _train(run: Run, start: TrainedRun | None, distributed: Distributed, *, progress: bool) -> TrainedRun:
    torch.use_deterministic_algorithms(True)  # on a GPU it chooses the slower way, if there is one, or stops
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads memory before it is written
    sequences = run.data.train.to(distributed.device)
    soft = soft_targets(run, distributed.device)
    task = Task(sequences, run.data.n_items, run.settings.data.max_length, validation_targets(run), soft)
    method, history = run.build().to(distributed.device), []
    if start:
        method.load_state_dict(start.method.state_dict(), strict=False)
    checkpoint = run.folder / "checkpoint.pt"
    if METHODS[run.method].trains:
        against = make_adversary(run, method)
        settings = run.train_settings
        options = {"adversary": against, "progress": progress}
        fitted = fit(method, task, settings, run.seed, checkpoint, run.fingerprint, distributed, **options)
    elif start:
        fitted = Fitted(start.history, start.account["best_epoch"])
    else:
        fitted = Fitted([], 0)
    began = time.monotonic()
    method.on_fit_end(context(method, task, run.seed, fitted.best_epoch, distributed))
    history = fitted.history
    account = {
        "dataset": run.data.name,
        "backbone": run.backbone,
        "method": run.method,
        "seed": run.seed,
        "fingerprint": run.fingerprint,
        "processes": distributed.size,
        "validation_NDCG@10": validate(method, task, distributed)["NDCG@10"],
        "best_epoch": fitted.best_epoch,
        **_costs(run, method, history, time.monotonic() - began, start),
    }
    if distributed.writes:
        with replacing(run.folder / "weights.safetensors") as temporary:
            save_file({name: value.contiguous() for name, value in method.state_dict().items()}, temporary)
        save_json({"epochs": history}, run.folder / "history.json")
        save_json(account, run.folder / "run.json")  # the last one: what has it is whole
        checkpoint.unlink(missing_ok=True)
    distributed.wait()
    return TrainedRun(method.cpu().eval(), account, history)


def _costs(
    run: Run, method: Method, history: list[dict[str, float]], finishing: float, start: TrainedRun | None
) -> dict[str, float]:
    """Account for time and memory; the time includes that of the run it starts from."""
    seconds = [epoch["seconds"] for epoch in history]
    own = sum(seconds) if METHODS[run.method].trains else 0.0
    before = start.account["train_seconds"] if start else 0.0
    return {
        "epochs": len(seconds),
        "seconds_per_epoch": round(float(np.median(seconds or [0.0])), 3),
        "train_seconds": round(before + own + finishing, 2),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "parameters": sum(parameter.numel() for parameter in method.parameters() if parameter.requires_grad),
    }


def make_adversary(run: Run, method: Method) -> adversary.Adversary | None:
    """Make the adversary that `train.adversary` asks for.

    Raises:
        InputError: the dataset has no such attribute, or there are no two classes to tell apart.
    """
    settings = run.settings.train
    if settings.adversary == "none":
        return None
    if settings.adversary == "sensitive_attribute":
        attribute = run.settings.data.sensitive_attribute
        if attribute is None:
            raise InputError(f"key 'datasets.{run.data.name}.sensitive_attribute' is null: name a user attribute")
        settings = settings.model_copy(update={"adversary": attribute})
    device = next(method.parameters()).device
    width = method.item_vectors(torch.ones(1, dtype=torch.int64, device=device)).shape[-1]
    return adversary.make(settings, run.data, width).to(device)


SOFT_ITEMS, SOFT_WHITENING, EXACT_UP_TO = 50, 0.75, 50_000
"""Items that share a target, how far their texts are whitened, and beyond how many items they are found roughly."""


def soft_targets(run: Run, device: torch.device) -> SoftTargets | None:
    """Find the items that share each target, if the loss wants any."""
    settings = run.train_settings
    if settings.soft_targets == 0:
        return None
    texts = whiten(run.inputs.item_embeddings[1:], power=SOFT_WHITENING)
    alike = text_similarity(texts, SOFT_ITEMS, EXACT_UP_TO)
    return SoftTargets.of(alike, settings.soft_targets, settings.soft_temperature).to(device)


def validation_targets(run: Run) -> Callable[[int], Targets]:
    """Give the validation targets of an epoch: fixed, or with negatives drawn anew as the authors' code does."""
    fixed = run.data.validation
    if not run.settings.train.redraw_negatives:
        return lambda epoch: fixed
    seen = _touched(run.data)

    def redrawn(epoch: int) -> Targets:
        rng = np.random.default_rng([run.seed, epoch])
        negatives = draw_negatives(fixed.users, seen, run.data.n_items, run.settings.prepare.negatives, rng)
        return Targets(fixed.users, fixed.items, negatives)

    return redrawn


def _touched(data: Dataset) -> list[np.ndarray]:
    """List what each user has in training and validation, ascending."""
    own = dict(zip(data.validation.users.tolist(), data.validation.items.tolist(), strict=True))
    touched = (np.append(items.numpy(), own.get(user, [])) for user, items in enumerate(data.train))
    return [np.unique(items).astype(np.int64) for items in touched]
