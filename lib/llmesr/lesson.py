"""Open any lesson by itself: what the tiny dataset needs from earlier stages is computed on the spot.

What was computed under other settings is deleted first. For every other dataset the earlier stages must have run;
if not, the error says which to run.
"""

import shutil

from llmesr import embed, evaluate, modalities, prepare, retrieve, study, train
from llmesr.embed import Embeddings
from llmesr.paths import artifact, replacing, results, run_folder, variant_folder
from llmesr.prepare import dataset
from llmesr.prepare.dataset import Dataset
from llmesr.retrieve import Neighbours
from llmesr.settings import Settings

TINY = "tiny"


def start(settings: Settings) -> None:
    """Delete what the tiny dataset's lessons left if they ran under other settings; other datasets are DVC's.

    Lesson 1, which needs nothing, calls this itself; the others do by asking for what they need.
    """
    if settings.data.name != TINY:
        return
    noted, told = artifact(TINY, "settings.json"), settings.model_dump_json().encode()
    if noted.exists() and noted.read_bytes() == told:
        return
    for folder in (artifact(TINY, ""), results(TINY)):
        shutil.rmtree(folder, ignore_errors=True)
    with replacing(noted) as temporary:
        temporary.write_bytes(told)


def prepared(settings: Settings) -> Dataset:
    """Give what lesson 1 made.

    Raises:
        InputError: it is missing, and the dataset is not the tiny one. So do the functions below.
    """
    start(settings)
    name = settings.data.name
    if name == TINY and not (artifact(name, "prepare") / "card.json").exists():
        return prepare.run(settings)
    return dataset.load(name)


def embedded(settings: Settings) -> tuple[Dataset, Embeddings]:
    """Give what lessons 1 and 2 made."""
    data = prepared(settings)
    if data.name == TINY and not (artifact(data.name, "embed") / "embeddings.safetensors").exists():
        return data, embed.run(settings, data)
    return data, embed.load(data.name)


def retrieved(settings: Settings) -> tuple[Dataset, Embeddings, Neighbours]:
    """Give what lessons 1 to 3 made."""
    data, embeddings = embedded(settings)
    if data.name == TINY and not (artifact(data.name, "retrieve") / "neighbours.safetensors").exists():
        return data, embeddings, retrieve.run(settings, data, embeddings)
    return data, embeddings, retrieve.load(data.name)


def trained(settings: Settings) -> tuple[Dataset, Embeddings, Neighbours]:
    """Give what lessons 1 to 3 made, and see to it that the tiny dataset's runs are all trained."""
    data, embeddings, similar = retrieved(settings)
    if data.name == TINY:
        for run in settings.matrix.runs():
            if not (run_folder(TINY, *run) / "run.json").exists():
                train.run(settings, data, embeddings, similar, *run)
    return data, embeddings, similar


def evaluated(settings: Settings) -> None:
    """See to it that the tiny dataset is evaluated."""
    start(settings)
    if settings.data.name == TINY and not (results(TINY) / "metrics.csv").exists():
        evaluate.run(settings, trained(settings)[0])


def made_up(data: Dataset) -> None:
    """Make up pictures and sounds of the tiny dataset's items, and models that see and hear them."""
    if data.name == TINY and not (folder := artifact(TINY, "made-up")).exists():
        from llmesr.modalities.made_up import write  # takes seconds to import, which lesson 21 alone needs

        write(folder, data, "category")


def viewed(settings: Settings) -> tuple[Dataset, Embeddings]:
    """Give what lessons 1 and 2 made, and see to it that the tiny dataset's further views are there."""
    data, embeddings = embedded(settings)
    if data.name == TINY:
        made_up(data)
        folder = artifact(TINY, "modalities")
        if not all((folder / f"{name}.safetensors").exists() for name in settings.modalities.make):
            modalities.run(settings, data)
    return data, embeddings


def studied(settings: Settings, name: str) -> None:
    """See to it that the tiny dataset's variants of one study have run."""
    evaluated(settings)
    if settings.data.name == TINY:
        if name in ("ugc", "fusion"):
            viewed(settings)
        for variant, about in settings.study.variants.items():
            ready = settings.trained_by_matrix(variant) or (variant_folder(TINY, variant) / "metrics.parquet").exists()
            if about.study == name and not ready:
                study.run(settings, dataset.load(TINY), variant)
