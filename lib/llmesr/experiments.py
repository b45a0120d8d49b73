"""Studies: a method with something changed, all else equal. `experiments.yaml` names them.

A variant is a set of dotted keys with other values. Its runs are in the run store like all others, so that a variant
that equals a run of the matrix is that run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llmesr import embed, retrieve
from llmesr.devices import pick_device
from llmesr.embed import Embeddings
from llmesr.errors import InputError
from llmesr.evaluate import Evaluation, frames, rank_run, read_test_split
from llmesr.models.backbones import BACKBONES
from llmesr.models.inputs import ItemView, ModelInputs
from llmesr.models.registry import METHODS
from llmesr.models.scoring import Scorer
from llmesr.paths import ROOT, from_root, replacing, results, shown
from llmesr.prepare.dataset import Dataset
from llmesr.runs.inputs import model_inputs
from llmesr.runs.pool import train_all
from llmesr.runs.store import Run
from llmesr.runs.training import train
from llmesr.settings import Settings, apply, hint, read_yaml
from llmesr.settings.embed import ENCODERS

FILE = "experiments.yaml"
FULL = "full"
"""The study's method as it is, with which variants are compared."""
EFFECTIVE = ("embed", "retrieve", "model", "train", "evaluate", "ugc", "data.max_length")
"""What a variant may change, beside the sections of backbones and that of its method."""
LARGE_ENCODER = ENCODERS["mpnet"]
"""Too large to be fetched with the others."""
KEYS = {"question", "method", "label", "variants"}


@dataclass(frozen=True)
class Variant:
    """A method with something changed.

    Attributes:
        label: what tables and figures call it.
        method: whose runs they are.
        settings: with the change.
        unavailable: why this dataset cannot have it; None if it can.
    """

    label: str
    method: str
    settings: Settings
    unavailable: str | None = None


@dataclass(frozen=True)
class Study:
    """A question and the variants that answer it, `full` first.

    Attributes:
        name: its key in `experiments.yaml`.
        question: what it asks.
        settings: as they are.
        variants: name → variant.
    """

    name: str
    question: str
    settings: Settings
    variants: dict[str, Variant]

    @property
    def available(self) -> dict[str, Variant]:
        """The variants that the dataset can have."""
        return {name: variant for name, variant in self.variants.items() if variant.unavailable is None}

    @property
    def unavailable(self) -> str:
        """Sentences on the variants that it cannot have; empty if there are none."""
        reasons: dict[str, list[str]] = {}
        for variant in self.variants.values():
            if variant.unavailable:
                reasons.setdefault(variant.unavailable, []).append(variant.label)
        return " ".join(f"Not shown: {'; '.join(labels)}, since {reason}." for reason, labels in reasons.items())

    def labels(self, method: str | None = None) -> dict[str, str]:
        """Say what tables call each variant that there is, or those of one method."""
        chosen = {name: one for name, one in self.available.items() if method in (None, one.method)}
        return {name: variant.label for name, variant in chosen.items()}

    def values(self, key: str) -> dict[str, float]:
        """Find the variants that change one key, and their values of it; `full` has the default."""
        default = _value(self.settings, key)
        found = {name: _value(variant.settings, key) for name, variant in self.available.items()}
        return {FULL: default, **{name: value for name, value in found.items() if value != default}}


def load(settings: Settings, data: Dataset | None = None, file: str | Path = FILE) -> dict[str, Study]:
    """Read and check all studies.

    Args:
        settings: the base.
        data: what a dataset cannot have is told by it; None leaves that out.
        file: path from the project root, or absolute.

    Raises:
        InputError: the file is no YAML, or a study or variant names an unknown method or key, or a wrong value.
    """
    path = from_root(file) if from_root(file).exists() else ROOT / file
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise InputError(f"{shown(path)} holds no studies: write 'name: …' sections")
    studies = {str(name): _study(str(name), about, settings, data, shown(path)) for name, about in raw.items()}
    known = {name for study in studies.values() for name in study.variants}
    if unknown := [name for name in settings.experiments.skip if name not in known]:
        raise InputError(
            f"key 'experiments.skip' names '{unknown[0]}', which is no variant: {hint(unknown[0], sorted(known))}"
        )
    return studies


def _study(name: str, about: object, settings: Settings, data: Dataset | None, file: str) -> Study:
    where = f"{file}, study '{name}'"
    if not isinstance(about, dict) or not isinstance(about.get("variants"), dict):
        raise InputError(f"{where} has no variants: write 'variants:' and a name a variant below it")
    if unknown := sorted(set(about) - KEYS):
        raise InputError(f"{where}: unknown key '{unknown[0]}': {hint(unknown[0], sorted(KEYS))}")
    method = _known_method(about.get("method", "llmesr"), where)
    variants = {FULL: Variant(str(about.get("label", METHODS[method].title)), method, settings)}
    for key, change in about["variants"].items():
        if key == FULL:
            raise InputError(f"{where}: 'full' is the method as it is: give the variant another name")
        variant = _variant(change, method, settings, data, f"{where}, variant '{key}'")
        if key in settings.experiments.skip:
            variant = replace(variant, unavailable="'experiments.skip' names it")
        variants[str(key)] = variant
    labels = [variant.label for variant in variants.values()]
    if double := [label for label in labels if labels.count(label) > 1]:
        raise InputError(f"{where}: two variants have the label '{double[0]}': change one of them")
    return Study(name, about.get("question", ""), settings, variants)


def _variant(change: object, method: str, settings: Settings, data: Dataset | None, where: str) -> Variant:
    if not isinstance(change, dict) or not isinstance(change.get("label"), str):
        raise InputError(f"{where} has no label: write what tables call it")
    change = {str(key): value for key, value in change.items()}  # YAML reads `on` and `3` as other things
    label, method = change.pop("label"), _known_method(change.pop("method", method), where)
    allowed = (*EFFECTIVE, f"methods.{method}", *(f"backbones.{name}" for name in BACKBONES))
    for key in change:
        if not any(key == prefix or key.startswith(f"{prefix}.") for prefix in allowed):
            apply(settings, {key: change[key]}, where)  # a key that is not there is named first
            raise InputError(f"{where}: '{key}' has no effect on it (its method is '{method}'): remove it")
    own = apply(settings, change, where)
    return Variant(label, method, own, _reason(own, method, set(change), data) if data else None)


def _known_method(name: object, where: str) -> str:
    if not isinstance(name, str) or name not in METHODS:
        raise InputError(f"{where}: unknown method {name!r}: {hint(str(name), list(METHODS))}")
    return str(name)


def _reason(own: Settings, method: str, changed: set[str], data: Dataset) -> str | None:
    """Say why a dataset, or the backbone of the studies, cannot have a variant that changes these keys."""
    of = {key.split(".")[1] for key in changed if key.startswith("backbones.")}
    if others := of - {own.experiments.backbone}:
        return f"it is of {BACKBONES[min(others)].title}, and 'experiments.backbone' is '{own.experiments.backbone}'"
    encoder = own.embed.encoders[own.embed.encoder]
    if encoder == LARGE_ENCODER and not from_root(encoder.model).exists():
        return f"{encoder.model} is not there (`python -m llmesr.tools.fetch mpnet` fetches it)"
    if own.train.adversary == "sensitive_attribute" and own.data.sensitive_attribute is None:
        return f"'datasets.{own.dataset}' names no sensitive attribute"
    views = own.methods.multiview.views if method == "multiview" else ()
    if lacking := [view for view in views if view != "text" and view not in own.data.modalities]:
        return f"'datasets.{own.dataset}.modalities' does not name {', '.join(lacking)}"
    if data.texts.is_empty() and (own.ugc.item_template or own.ugc.user_template or own.embed.lora.epochs):
        return "nobody wrote about training items"
    return None


def _value(settings: Settings, key: str) -> float:
    node: Any = settings
    for part in key.split("."):
        node = getattr(node, part)
    return float(node)


# --- running a study ---

MakeEmbeddings = Callable[[Settings, Dataset], Embeddings]
LoadViews = Callable[[Settings, str], Mapping[str, ItemView]]


def runs(
    study: Study,
    data: Dataset,
    make_embeddings: MakeEmbeddings = embed.make,
    load_views: LoadViews = lambda settings, method: {},
) -> dict[str, list[Run]]:
    """List the runs of every variant, one a seed.

    What a variant leaves as it is, embeddings or similar users, is what the stages made.

    Args:
        study: of this dataset.
        data: the dataset.
        make_embeddings: makes the embeddings of a variant that changes them.
        load_views: settings and a method's name → the further views that it fuses.

    Raises:
        InputError: what it needs of earlier stages is missing, or a variant's embeddings cannot be made.
    """
    base, found = study.settings, {}
    embeddings, neighbours = embed.load(data.name), retrieve.load(data.name)
    plain = model_inputs(embeddings, neighbours)
    for name, variant in study.available.items():
        own, chosen = variant.settings, base.experiments
        same = (own.embed, own.ugc, own.model.hidden) == (base.embed, base.ugc, base.model.hidden)
        vectors = embeddings if same else make_embeddings(own, data)
        views = load_views(own, variant.method)
        if own.retrieve.source == "collaborative":  # of each seed its own
            similar = [retrieve.find(own, data, vectors, _states(base, data, seed, plain)) for seed in chosen.seeds]
            inputs = [model_inputs(vectors, each, views) for each in similar]
        elif same and own.retrieve == base.retrieve and not views:
            inputs = [plain] * len(chosen.seeds)
        else:
            similar = neighbours if same and own.retrieve == base.retrieve else retrieve.find(own, data, vectors)
            inputs = [model_inputs(vectors, similar, views)] * len(chosen.seeds)
        found[name] = [
            Run(own, chosen.backbone, variant.method, seed, data, each)
            for seed, each in zip(chosen.seeds, inputs, strict=True)
        ]
    return found


def _states(base: Settings, data: Dataset, seed: int, inputs: ModelInputs) -> np.ndarray:
    """Represent every user by the trained backbone of a seed, from training items: (U, D)."""
    trained = train(Run(base, base.experiments.backbone, "base", seed, data, inputs)).method
    return Scorer.of(trained, data.n_items, base.data.max_length).states(data.train).numpy()


def run(study: Study, data: Dataset, **options: object) -> Evaluation:
    """Train and evaluate every variant of a study; write `results/<dataset>/<study>/metrics.csv`.

    The test split is read by `evaluate`, and nothing is chosen by it.

    Args:
        study: of this dataset.
        data: the dataset.
        options: as `runs` takes them.

    Returns:
        the frames of all variants; the column `method` has the variant's name.
    """
    planned = runs(study, data, **options)
    trained = train_all([run for each in planned.values() for run in each], title=study.name)
    split = read_test_split(data, pick_device(study.settings.train.device))
    parts, rest = [], iter(trained)
    for name, each in planned.items():
        own = study.variants[name].settings
        ranked = [rank_run(next(rest), split, data, own) for _ in each]
        parts.append((name, frames(ranked, split, data, own)))
    evaluation = Evaluation(*(_concat(parts, part) for part in ("metrics", "timings", "significance", "ranks")))
    publish(study.name, data.name, evaluation.metrics)
    return evaluation


def _concat(parts: list[tuple[str, Evaluation]], part: str) -> pl.DataFrame:
    named = (getattr(evaluation, part).with_columns(method=pl.lit(name)) for name, evaluation in parts)
    return pl.concat(list(named), how="vertical_relaxed")


def publish(study: str, dataset: str, metrics: pl.DataFrame) -> None:
    """Write a study's metrics, with the columns of the main `metrics.csv`."""
    with replacing(results(dataset, study) / "metrics.csv") as temporary:
        metrics.write_csv(temporary, float_precision=6)
