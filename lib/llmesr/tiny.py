"""Open any lesson by itself: what the tiny dataset needs from earlier stages is computed on the spot.

What was computed under other settings of its stage is deleted first. For every other dataset the earlier stages must
have run; if not, what loads their output says which command to run.
"""

import json
import shutil
from collections.abc import Callable
from typing import Literal

from filelock import FileLock

from llmesr import embed, prepare, retrieve
from llmesr.paths import artifact, replacing, results
from llmesr.prepare import dataset
from llmesr.runs.inputs import model_inputs
from llmesr.settings import Settings

TINY = "tiny"
NOTED = "settings.json"
"""The file below the tiny dataset's artifacts that says under which settings they were made."""
Stage = Literal["prepare", "embed", "retrieve", "evaluate", "modalities", "recommend"]


def run(settings: Settings, until: Stage) -> None:
    """Run the stages of the tiny dataset that have not run, up to one of them; for other datasets do nothing.

    Of lessons that run at the same time one does so, and the others wait for it.
    """
    if settings.dataset != TINY:
        return
    lock = artifact(TINY, "lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        start(settings)
        for stage in NEEDS[until]:
            output, compute = STAGES[stage]
            if not (artifact(TINY, stage) / output).exists():
                compute(settings)


def start(settings: Settings) -> None:
    """Delete what stages of the tiny dataset made under other settings of theirs; other datasets are DVC's."""
    if settings.dataset != TINY:
        return
    file = artifact(TINY, NOTED)
    noted = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for stage in STAGES:
        if noted.get(stage) != _settings_of(stage, settings):
            shutil.rmtree(artifact(TINY, stage), ignore_errors=True)
            shutil.rmtree(results(TINY, stage), ignore_errors=True)
    note(settings)


def note(settings: Settings) -> None:
    """Write down under which settings the stages of the tiny dataset are computed."""
    with replacing(artifact(TINY, NOTED)) as temporary:
        temporary.write_text(json.dumps({stage: _settings_of(stage, settings) for stage in STAGES}), encoding="utf-8")


def _settings_of(stage: Stage, settings: Settings) -> str:
    """Write down all settings that a stage and those before it depend on."""
    sections = {name for needed in NEEDS[stage] for name in SECTIONS[needed]}
    return settings.model_dump_json(include=sections)


def _embed(settings: Settings) -> None:
    embed.run(settings, dataset.load(TINY))


def _retrieve(settings: Settings) -> None:
    retrieve.run(settings, dataset.load(TINY), embed.load(TINY))


def _evaluate(settings: Settings) -> None:
    from llmesr import evaluate
    from llmesr.runs.matrix import matrix_runs

    data = dataset.load(TINY)
    inputs = model_inputs(embed.load(TINY), retrieve.load(TINY))
    evaluate.run(settings, data, matrix_runs(settings, data, inputs))


def _modalities(settings: Settings) -> None:
    from llmesr.extras import modalities  # takes seconds to import, which few lessons need

    modalities.run(settings, dataset.load(TINY))


def _recommend(settings: Settings) -> None:
    from llmesr import recommend

    recommend.run(settings, dataset.load(TINY), model_inputs(embed.load(TINY), retrieve.load(TINY)))


STAGES: dict[Stage, tuple[str, Callable[[Settings], object]]] = {
    "prepare": ("card.json", prepare.run),
    "embed": ("embeddings.safetensors", _embed),
    "retrieve": ("neighbours.safetensors", _retrieve),
    "modalities": ("coverage.parquet", _modalities),
    "evaluate": ("ranks.parquet", _evaluate),
    "recommend": ("lists.parquet", _recommend),
}
"""The last file that each stage writes, and what runs it."""
NEEDS: dict[Stage, tuple[str, ...]] = {
    "prepare": ("prepare",),
    "embed": ("prepare", "embed"),
    "retrieve": ("prepare", "embed", "retrieve"),
    "modalities": ("prepare", "embed", "retrieve", "modalities"),
    "evaluate": ("prepare", "embed", "retrieve", "evaluate"),
    "recommend": ("prepare", "embed", "retrieve", "recommend"),
}
SECTIONS: dict[Stage, tuple[str, ...]] = {
    "prepare": ("datasets", "prepare"),
    "embed": ("embed", "model"),
    "retrieve": ("retrieve",),
    "modalities": ("modalities", "ugc"),
    "evaluate": ("backbones", "methods", "matrix", "train", "evaluate"),
    "recommend": ("backbones", "methods", "train", "recommend"),
}
"""The settings that each stage reads."""
