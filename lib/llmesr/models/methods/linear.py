"""Linear: no neural network at all, only DualMatch's matches and popularity: what a network must be better than."""

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from llmesr.models.backbones.base import Backbone
from llmesr.models.base import Method, TrainContext
from llmesr.models.inputs import ModelInputs
from llmesr.models.matching import Matcher, MatchSettings, by_halves
from llmesr.sequences import Sequences


class Linear(Method):
    """A matcher; the backbone has no part in it."""

    name = "linear"
    title = "Linear"
    trains = False

    class Settings(MatchSettings):
        """Linear's own settings."""

    def __init__(self, settings: "Linear.Settings", inputs: ModelInputs, backbone: Backbone) -> None:
        super().__init__(settings, inputs, backbone)
        self.texts = inputs.item_embeddings[1:]  # (V, L)
        self.table = nn.Embedding.from_pretrained(torch.zeros(inputs.n_items + 2, 1))  # there are no item vectors
        self.matcher = Matcher(len(self.texts), settings)

    def states(self, sequences: Sequences, vectors: Tensor) -> Tensor:
        """Leave the backbone out."""
        return vectors

    def score(self, states: Tensor, table: Tensor, histories: Sequences) -> Tensor:
        """Weigh the matches: (B, V + 1)."""
        return self.matcher(states @ table.T, histories)

    def on_fit_end(self, context: TrainContext) -> None:
        """List what is similar, and fit the weights to the validation items."""
        width = len(self.texts) + 1
        self.matcher.learn(self.texts, lambda some: self.table.weight.new_zeros(len(some), width), context)

    def for_validation(self, users: Tensor) -> list[tuple[Tensor, Method]]:
        """Judge even users by weights that were fitted to odd ones, and the other way round."""
        return by_halves(self, users)

    def contributions(self, state: Tensor, views: Mapping[str, Tensor], history: Sequences) -> dict[str, Tensor]:
        """Take the scores of one history apart: the matches, popularity; (V + 1,) each."""
        return self.matcher.contributions(history)

    def with_new_items(self, item_embeddings: np.ndarray, counts: np.ndarray, new_count: int) -> "Linear":
        """Return a method whose matches know further items, which nobody has had."""
        other = copy.deepcopy(self)
        other.matcher = self.matcher.with_new_items(item_embeddings, counts, new_count)
        return other
