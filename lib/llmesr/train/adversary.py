"""Adversarial training: an adversary guesses from states, or from item vectors, what these should not reveal.

The adversary learns to guess; what it is given learns to leave it guessing, through a reversed gradient (Ganin et al.,
2016). It is of no use after training and is not saved.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmesr.errors import InputError
from llmesr.models.base import Batch
from llmesr.prepare.dataset import Dataset, attribute
from llmesr.train.settings import TrainSettings

POPULARITY = "popularity"
UNKNOWN = -1


class Reverse(torch.autograd.Function):
    """Identity whose gradient is reversed and scaled."""

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, x: Tensor, strength: float) -> Tensor:
        """Return x."""
        context.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        """Reverse the gradient."""
        return -context.strength * gradient, None


class Adversary(nn.Module):
    """Guesses the class of users by their states, or of items by their vectors.

    Attributes:
        labels: (U,) of users or (V + 2,) of items; -1 where it is not known.
        of_items: which of the two.
    """

    def __init__(self, width: int, labels: Tensor, strength: float, *, of_items: bool) -> None:
        super().__init__()
        counts = torch.bincount(labels[labels != UNKNOWN])
        self.guess = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, len(counts)))
        self.register_buffer("labels", labels, persistent=False)
        self.register_buffer("weights", counts.sum() / (len(counts) * counts.clamp(min=1)), persistent=False)
        self.strength, self.of_items = strength, of_items

    def forward(self, batch: Batch, states: Tensor, items: Tensor, table: Tensor) -> Tensor:
        """Compute how wrong the guesses are, every class counting as much as the others.

        Args:
            batch: names the users and where their own representations are.
            states: (N, W).
            items: (M,) ids of the step's items.
            table: (M, W) their vectors.
        """
        labels, vectors = (self.labels[items], table) if self.of_items else self._users(batch, states)
        some = labels != UNKNOWN
        if not some.any():
            return states.new_zeros(())
        guesses = self.guess(Reverse.apply(vectors[some], self.strength))
        return F.cross_entropy(guesses, labels[some], self.weights)

    def _users(self, batch: Batch, states: Tensor) -> tuple[Tensor, Tensor]:
        return self.labels[batch.represented], states[batch.last]


def make(settings: TrainSettings, data: Dataset, width: int) -> Adversary:
    """Make the adversary that the settings ask for.

    Args:
        settings: `train.adversary` and its weight.
        data: whose users or items are guessed.
        width: W.

    Raises:
        InputError: the users have no such attribute, or there are no two classes to tell apart.
    """
    if settings.adversary == POPULARITY:
        labels = np.pad((data.items["tail"] == "tail_item").to_numpy().astype(np.int64), 1, constant_values=UNKNOWN)
    else:
        values = attribute(data, settings.adversary, "train.adversary")
        names = sorted(set(values) - {""})
        labels = np.array([names.index(value) if value else UNKNOWN for value in values], np.int64)
    if len(np.unique(labels[labels != UNKNOWN])) < 2:
        raise InputError(
            f"key 'train.adversary': '{settings.adversary}' has no two classes to tell apart: choose another"
        )
    strength = settings.adversary_weight
    return Adversary(width, torch.from_numpy(labels), strength, of_items=settings.adversary == POPULARITY)
