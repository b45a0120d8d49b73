"""What our own measurements start from: the settings, and what stages 01 to 03 made."""

from dataclasses import dataclass
from typing import Any

import torch
from llmesr import embed, models, retrieve, train
from llmesr.embed import Embeddings
from llmesr.models.methods import Method
from llmesr.models.ragged import Ragged
from llmesr.prepare import dataset
from llmesr.prepare.dataset import Dataset
from llmesr.retrieve import Neighbours
from llmesr.settings import Settings, load
from llmesr.train.loop import Task
from llmesr.train.team import Team

ALONE = Team(torch.device("cpu"))


@dataclass(frozen=True)
class Given:
    """Everything a run starts from, on the CPU."""

    settings: Settings
    data: Dataset
    embeddings: Embeddings
    similar: Neighbours

    @property
    def task(self) -> Task:
        """What is learned from, and the validation targets."""
        sequences = Ragged.of(self.data.train.items, self.data.train.lengths)
        targets = train.validation_targets(self.data, self.settings, self.settings.prepare.seed)
        return Task(sequences, self.data.n_items, self.settings.model.max_length, targets)

    def build(self, backbone: str, method: str) -> Method:
        """Build a model, with the first of the settings' seeds."""
        seed = self.settings.matrix.seeds[0]
        return models.build(self.settings, backbone, method, seed, self.embeddings, self.similar)


def changed(settings: Settings, changes: dict[str, Any]) -> Settings:
    """Copy settings with some keys changed: `{"train.loss": "bce"}`."""
    raw = settings.model_dump(by_alias=True)
    for path, value in changes.items():
        *parents, key = path.split(".")
        node = raw
        for parent in parents:
            node = node[parent]
        node[key] = value
    return Settings.model_validate(raw)


def read(params: str, changes: dict[str, Any]) -> Given:
    """Read what a measurement needs, and compute on one thread from here on.

    Args:
        params: settings file.
        changes: keys of the settings that are measured with another value.

    Raises:
        InputError: the settings are at fault, or an earlier stage has not been run.
    """
    torch.set_num_threads(1)
    settings = changed(load(params), {"train.device": "cpu", **changes})
    name = settings.data.name
    return Given(settings, dataset.load(name), embed.load(name), retrieve.load(name))
