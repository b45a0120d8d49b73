"""Studies: a method with something changed, all else equal. `make study` runs them; `dvc repro` alone does not."""

from typing import Any, get_args

import numpy as np
import polars as pl
import torch
from pydantic import ValidationError

from llmesr import embed, evaluate, modalities, published, retrieve, train
from llmesr.devices import pick_device
from llmesr.embed import Embeddings
from llmesr.errors import InputError
from llmesr.models.ragged import Ragged
from llmesr.models.scoring import represent
from llmesr.paths import artifact, replacing, results, variant_folder
from llmesr.prepare.dataset import Dataset, read_frame, save_frame
from llmesr.retrieve import Neighbours
from llmesr.settings import Settings
from llmesr.settings.schema import StudyName

METHOD = "llmesr"
"""With which variants are compared."""
EFFECTIVE = {"embed", "retrieve", "model", "backbones", "methods", "train", "evaluate"}
"""Sections that a variant may change; of backbones only the study's, of methods only its own."""
STUDIES = get_args(StudyName)


def changed(settings: Settings, variant: str) -> Settings:
    """Apply a variant's change.

    Raises:
        InputError: there is no such variant, or it changes a key that is not there or to a value that is not allowed.
    """
    if variant not in settings.study.variants:
        raise InputError(f"'{variant}' is not among 'study.variants': {', '.join(settings.study.variants)}")
    about = settings.study.variants[variant]
    change = about.change
    backbones, methods = change.get("backbones", {}), change.get("methods", {})
    idle = [*(set(change) - EFFECTIVE), *(set(backbones) - {settings.study.backbone}), *(set(methods) - {about.method})]
    if idle:
        raise InputError(
            f"'study.variants.{variant}.change' names '{min(idle)}', which has no effect on a variant: remove it"
        )
    try:
        merged = _merge(settings.model_dump(by_alias=True), change)
        return Settings.model_validate(merged)
    except ValidationError as problem:
        first = problem.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"key 'study.variants.{variant}.change.{key}': {first['msg']}") from None


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both else value
    return merged


def run(settings: Settings, data: Dataset, variant: str) -> pl.DataFrame:
    """Train and judge a variant with every seed; write `artifacts/<dataset>/study/<variant>/`.

    What the variant leaves as it is, embeddings or similar users, is what the stages made. The test split is read by
    `evaluate` and nothing is chosen by it.

    Returns:
        the rows of `metrics.csv`; the method is called as the variant.

    Raises:
        InputError: the variant is not valid, or what it needs of earlier stages is missing.
    """
    own = changed(settings, variant)
    backbone, method = settings.study.backbone, settings.study.variants[variant].method
    _has_its_like(settings)
    split = evaluate.read_test_split(data, pick_device(own.train.device))
    vectors = vectors_of(settings, own, data, method)
    judged = []
    for seed in settings.study.seeds:
        similar = _teachers(own, settings, data, vectors, seed)
        trained = train.run(own, data, vectors, similar, backbone, method, seed, variant=variant)
        judged.append(evaluate.judge(trained, split, data, own))
    found = evaluate.frames(judged, split, data, own)
    named = pl.lit(variant).alias("method")
    for part in ("metrics", "timings", "ranks"):
        save_frame(getattr(found, part).with_columns(named), variant_folder(data.name, variant) / f"{part}.parquet")
    return found.metrics.with_columns(named)


def vectors_of(base: Settings, own: Settings, data: Dataset, method: str) -> Embeddings:
    """Give a variant's embeddings: those of stage 02 unless it changes them, and the views that its method fuses.

    Raises:
        InputError: they cannot be made, or a stage that they are from has not run.
    """
    same = own.embed == base.embed and own.model.hidden == base.model.hidden
    return modalities.attach(own, method, data.name, embed.load(data.name) if same else embed.make(own, data))


def _teachers(own: Settings, base: Settings, data: Dataset, vectors: Embeddings, seed: int) -> Neighbours:
    """Find the similar users; those of a trained recommender are asked of the plain backbone of the same seed."""
    if own.retrieve == base.retrieve and own.embed == base.embed:
        return retrieve.load(data.name)
    states = _states(base, data, seed) if own.retrieve.source == "collaborative" else None
    return retrieve.find(own, data, vectors, states)


def _states(base: Settings, data: Dataset, seed: int) -> np.ndarray:
    """Represent every user by the plain backbone, from training items."""
    plain = train.load(base, embed.load(data.name), retrieve.load(data.name), base.study.backbone, "none", seed).model
    sequences = Ragged.of(data.train.items, data.train.lengths)
    everyone = torch.arange(data.n_users)
    return represent(plain, sequences, everyone, data.n_items, base.model.max_length).numpy()


def _has_its_like(settings: Settings) -> None:
    """Check that LLM-ESR and the plain backbone, which variants are compared with, are runs of the matrix.

    Raises:
        InputError: they are not.
    """
    matrix, chosen = settings.matrix, settings.study
    for key, wanted, there in (
        ("backbones", {chosen.backbone}, matrix.backbones),
        ("seeds", set(chosen.seeds), matrix.seeds),
        ("methods", {METHOD, "none"}, matrix.methods),
    ):
        if lacking := sorted(wanted - set(there), key=str):
            raise InputError(
                f"the study needs {lacking[0]!r}, which is not in 'matrix.{key}': add it, or change 'study'"
            )


def gather(settings: Settings, study: str, part: str = "metrics") -> pl.DataFrame:
    """Collect the variants of one study and, as the method `full`, LLM-ESR itself.

    A variant that changes nothing about a method of the matrix is that method's own runs.

    Args:
        settings: with `study.variants`.
        study: one of `STUDIES`.
        part: `metrics`, `timings` or `ranks`.

    Raises:
        InputError: a variant or the evaluation has not run.
    """
    name = settings.data.name
    _has_its_like(settings)
    if part == "ranks":
        main = read_frame(artifact(name, "evaluate") / "ranks.parquet", "evaluate")
    else:
        main = published.load(name, part)
    main = main.filter(pl.col("seed").is_in(settings.study.seeds), backbone=settings.study.backbone)
    frames = [main.filter(method=METHOD).with_columns(pl.lit("full").alias("method"))]
    for variant, about in settings.study.variants.items():
        if about.study != study:
            continue
        if settings.trained_by_matrix(variant):
            frames.append(main.filter(method=about.method).with_columns(pl.lit(variant).alias("method")))
        else:
            file = variant_folder(name, variant) / f"{part}.parquet"
            frames.append(read_frame(file, f"study/dvc.yaml:variant@{variant}"))
    return pl.concat([frame.select(main.columns) for frame in frames], how="vertical_relaxed")


def publish(settings: Settings, study: str, metrics: pl.DataFrame) -> None:
    """Write a study's metrics to `results/<dataset>/<study>.csv`, with the columns of `metrics.csv`."""
    with replacing(results(settings.data.name) / f"{study}.csv") as temporary:
        metrics.write_csv(temporary, float_precision=6)


def labels(settings: Settings, study: str, method: str | None = None) -> dict[str, str]:
    """Say what tables and figures call LLM-ESR itself and each variant of a study, in the order of the settings.

    Args:
        settings: with `study.variants`.
        study: one of `STUDIES`.
        method: only its variants; LLM-ESR itself is one of `llmesr`.
    """
    asked = {name: about for name, about in settings.study.variants.items() if about.study == study}
    named = {name: about.label for name, about in asked.items() if method in (None, about.method)}
    return {**({"full": "LLM-ESR"} if method in (None, METHOD) else {}), **named}


def values(settings: Settings, study: str, key: str) -> dict[str, float]:
    """Find the variants of a study that change one key, and their values of it; `full` has the default's.

    Args:
        settings: with `study.variants`.
        study: one of `STUDIES`.
        key: dotted, of a number.
    """
    default = _value(settings, key)
    found = {name: _value(changed(settings, name), key) for name in labels(settings, study) if name != "full"}
    return {"full": default, **{name: value for name, value in found.items() if value != default}}


def _value(settings: Settings, key: str) -> float:
    node: Any = settings
    for part in key.split("."):
        node = getattr(node, part)
    return float(node)
