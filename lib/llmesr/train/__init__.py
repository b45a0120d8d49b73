"""Stage 04: one run = backbone × method × seed, trained and its best weights kept."""

import json
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from dvclive import Live
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from llmesr import models
from llmesr.devices import cpu_threads
from llmesr.embed import Embeddings
from llmesr.errors import InputError
from llmesr.models.methods import LOSSES, STARTS_FROM, Method
from llmesr.models.ragged import Ragged
from llmesr.paths import checkpoint_file, replacing, run_folder, shown, variant_folder
from llmesr.prepare.dataset import Dataset, Targets, save_json
from llmesr.prepare.split import draw_negatives
from llmesr.retrieve import Neighbours
from llmesr.settings import Settings, Train
from llmesr.train import rival
from llmesr.train.checkpoint import fingerprint
from llmesr.train.loop import Fitted, Task, fit, overview, validate
from llmesr.train.team import Team


@dataclass(frozen=True)
class Run:
    """A trained model, on the CPU, and the account of its training (`run.json`)."""

    model: Method
    account: dict
    history: list[dict[str, float]]


CODE = (Path(models.__file__).parent, Path(__file__).parent)


@dataclass(frozen=True)
class Phase:
    """A method that is trained: a run's own, or the one that it starts from.

    Attributes:
        method: its name.
        checkpoint: from which it resumes after a kill.
        model: with its best weights.
        fitted: how it came to them.
    """

    method: str
    checkpoint: Path
    model: Method
    fitted: Fitted


def run(
    settings: Settings,
    data: Dataset,
    embeddings: Embeddings,
    similar: Neighbours,
    backbone: str,
    method: str,
    seed: int,
    variant: str | None = None,
) -> Run:
    """Do the whole stage for one run and write `artifacts/<dataset>/train/<backbone>/<method>/<seed>/`.

    A variant of the study, whose settings differ, is written to `artifacts/<dataset>/study/<variant>/<seed>/` instead.

    Raises:
        InputError: the loss is not finite, the checkpoint is damaged, or the settings do not fit together.
    """
    team = Team.join(settings.train.device)
    _be_deterministic()
    sequences = Ragged.of(data.train.items, data.train.lengths, team.device)
    task = Task(sequences, data.n_items, settings.model.max_length, validation_targets(data, settings, seed))
    folder = _folder(data.name, backbone, method, seed, variant)
    arrays = _arrays(settings, data, embeddings, similar)
    phases: list[Phase] = []
    with cpu_threads(settings.train.threads), _live(folder) if team.writes else nullcontext() as live:
        for name in [STARTS_FROM[method], method] if method in STARTS_FROM else [method]:
            model = models.build(settings, backbone, name, seed, embeddings, similar).to(team.device)
            if phases:
                model.load_state_dict(phases[-1].model.state_dict(), strict=False)
            attach_rival(model, settings, data)
            called = "-from-".join(dict.fromkeys([variant or method, name]))
            checkpoint = checkpoint_file(data.name, backbone, called, seed)
            identity = _identity(settings, backbone, name, seed, arrays)
            report = _log_to(live) if live and name == method else _ignore
            fitted = fit(model, task, with_loss(settings.train, name), seed, checkpoint, identity, report, team)
            model.rival = None  # it has done its work, and is not saved
            phases.append(Phase(name, checkpoint, model, fitted))
        began = time.monotonic()
        model.finish(overview(model, task, seed, fitted.best_epoch, team))
        finishing = time.monotonic() - began
        validated = validate(model, task, team)
    account = {
        "dataset": data.name,
        "backbone": backbone,
        "method": method,
        "seed": seed,
        "processes": team.size,
        "validation_NDCG@10": validated["NDCG@10"],
        "best_epoch": fitted.best_epoch,
        **_costs(phases, finishing),
    }
    if team.writes:
        _write(folder, phases, account)
    team.wait()
    return Run(model.cpu().eval(), account, fitted.history)


def attach_rival(model: Method, settings: Settings, data: Dataset) -> None:
    """Give a model the rival that `train.adversary` asks for, whose weights are learned with the model's."""
    if settings.train.adversary == "none":
        return
    device = next(model.parameters()).device
    width = model.item_vectors(torch.ones(1, dtype=torch.int64, device=device)).shape[-1]
    model.rival = rival.make(settings.train, data, width).to(device)


def with_loss(settings: Train, method: str) -> Train:
    """Replace the loss `own` by the one of the method's paper."""
    if settings.loss != "own":
        return settings
    return settings.model_copy(update={"loss": LOSSES.get(method, "bce")})


def _folder(name: str, backbone: str, method: str, seed: int, variant: str | None) -> Path:
    """Folder of a run, or of a variant's."""
    return variant_folder(name, variant) / str(seed) if variant else run_folder(name, backbone, method, seed)


def _be_deterministic() -> None:
    torch.use_deterministic_algorithms(True)  # on a GPU it chooses the slower way, if there is one, or stops
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads memory before it is written


@contextmanager
def _live(folder: Path) -> Iterator[Live]:
    """Log to a place of one's own, and copy what is whole: DVCLive reads its files again, while another may write."""
    with TemporaryDirectory() as own:
        with Live(own, save_dvc_exp=False, dvcyaml=None, report=None) as live:
            yield live
        shutil.copytree(own, folder / "live", dirs_exist_ok=True)


def _ignore(measures: dict[str, float]) -> None:
    """Report nothing: the learning curve is that of the run's own method."""


def _write(folder: Path, phases: list[Phase], account: dict) -> None:
    model, fitted = phases[-1].model, phases[-1].fitted
    with replacing(folder / "weights.safetensors") as temporary:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, temporary)
    save_json(account, folder / "run.json")
    save_json({"epochs": fitted.history}, folder / "history.json")
    for phase in phases:
        phase.checkpoint.unlink(missing_ok=True)  # not before all is written


def load(
    settings: Settings,
    embeddings: Embeddings,
    similar: Neighbours,
    backbone: str,
    method: str,
    seed: int,
    variant: str | None = None,
) -> Run:
    """Load a run that was trained under these settings, or a variant of the study.

    Raises:
        InputError: it is missing or damaged.
    """
    folder = _folder(settings.data.name, backbone, method, seed, variant)
    stage = f"study/dvc.yaml:variant@{variant}" if variant else f"train@{backbone}-{method}-{seed}"
    model = models.build(settings, backbone, method, seed, embeddings, similar)
    try:
        model.load_state_dict(load_file(folder / "weights.safetensors"))
        account = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        history = json.loads((folder / "history.json").read_text(encoding="utf-8"))["epochs"]
    except FileNotFoundError:
        raise InputError(f"{shown(folder)} is missing: run `dvc repro {stage}` first") from None
    except (SafetensorError, RuntimeError, json.JSONDecodeError) as error:
        raise InputError(
            f"{shown(folder)} is damaged or of other settings ({str(error).splitlines()[0]}): delete it and run "
            f"`dvc repro {stage}`"
        ) from None
    return Run(model.eval(), account, history)


def validation_targets(data: Dataset, settings: Settings, seed: int) -> Callable[[int], Targets]:
    """Give the validation targets of an epoch: fixed, or with negatives drawn anew as the authors' code does."""
    fixed = data.validation
    if not settings.train.redraw_negatives:
        return lambda epoch: fixed
    own = dict(zip(fixed.users.tolist(), fixed.items.tolist(), strict=True))
    seen = [np.unique(np.append(data.train[user], own.get(user, []))) for user in range(data.n_users)]

    def redrawn(epoch: int) -> Targets:
        rng = np.random.default_rng([seed, epoch])
        negatives = draw_negatives(fixed.users, seen, data.n_items, settings.prepare.negatives, rng)
        return Targets(fixed.users, fixed.items, negatives)

    return redrawn


def _arrays(settings: Settings, data: Dataset, embeddings: Embeddings, similar: Neighbours) -> list[np.ndarray]:
    """List the data that a run depends on."""
    arrays = [data.train.items, data.train.offsets, data.validation.items, data.validation.negatives]
    arrays += [embeddings.items, embeddings.initial, embeddings.users, similar.users]
    arrays += [view.vectors for view in embeddings.views.values()]
    if settings.train.adversary != "none":
        arrays += [np.array(data.users.hash_rows(seed=0)), np.array(data.items["tail"] == "tail_item")]
    return arrays


def _identity(settings: Settings, backbone: str, method: str, seed: int, arrays: list[np.ndarray]) -> str:
    """Hash all that a run depends on: its name, its settings, the code that trains, its data."""
    code = [file.read_text(encoding="utf-8") for room in CODE for file in sorted(room.rglob("*.py"))]
    own = (getattr(settings.backbones, backbone), getattr(settings.methods, method))
    told = [section.model_dump_json() for section in (settings.model, settings.train, *own)]
    return fingerprint(backbone, method, str(seed), *told, *code, *arrays)


def _log_to(live: Live) -> Callable[[dict[str, float]], None]:
    def log(measures: dict[str, float]) -> None:
        live.step = int(measures["epoch"])
        for name in ("loss", "NDCG@10", "HR@10"):
            live.log_metric(name, measures[name])
        live.make_summary()

    return log


def _costs(phases: list[Phase], finishing: float) -> dict[str, float]:
    model = phases[-1].model
    seconds = [epoch["seconds"] for epoch in phases[-1].fitted.history]
    before = sum(epoch["seconds"] for phase in phases[:-1] for epoch in phase.fitted.history)
    return {
        "epochs": len(seconds),
        "seconds_per_epoch": round(float(np.median(seconds)), 3),
        "train_seconds": round(before + sum(seconds) + finishing, 2),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "parameters": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
    }
