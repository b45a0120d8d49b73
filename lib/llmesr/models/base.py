"""What a method is: how items get their vectors, how sequences are encoded, what is learned beside the ranking loss.

A method is one file in `models/methods/` that reads beside its paper, and one line in `METHODS` (`models/registry.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from llmesr.models.backbones.base import Backbone
from llmesr.models.inputs import ModelInputs
from llmesr.section import Section
from llmesr.sequences import Sequences

Loss = Literal["bce", "gbce", "sampled_softmax", "cross_entropy"]


@dataclass(frozen=True)
class Batch:
    """One step's sequences.

    Attributes:
        users: (B,) whose sequence each is.
        inputs: B sequences of N items.
        targets: (N,) the item to predict at each position; 0 where there is none.
        represents: (B,) true for sequences whose last state stands for the user (all but cloze ones).
    """

    users: Tensor
    inputs: Sequences
    targets: Tensor
    represents: Tensor

    @property
    def represented(self) -> Tensor:
        """(b,) the users whose sequence's last state stands for them."""
        return self.users[self.represents]

    @property
    def last(self) -> Tensor:
        """(b,) the positions of those last states."""
        return self.inputs.last[self.represents]

    def take(self, rows: Tensor) -> "Batch":
        """Cut out sequences (b,), in ascending order."""
        chosen = torch.zeros_like(self.represents)
        chosen[rows] = True
        inputs = self.inputs.take(rows)
        return Batch(self.users[rows], inputs, self.targets[chosen[self.inputs.row]], self.represents[rows])


EncodeUsers = Callable[..., Tensor]
"""`encode(users, shard=True)`: users (n,) → states (n, W), in evaluation mode and without gradient. With `shard` all
processes ask for the same users, and each encodes its share."""


@dataclass(frozen=True)
class TrainContext:
    """What a method may look at before an epoch and after the last one: training interactions, to learn from them.

    The validation items, too, but only to choose by them.

    Attributes:
        epoch: from 0.
        seed: of the run.
        sequences: every user's training items.
        encode_users: the states that `extra_loss` is given for users, but without dropout.
        encode: any sequences' last states.
        max_length: T, the latest items that are read.
        validation_users: (n,) the users who have a validation item.
        validation_items: (n,) these items.
    """

    epoch: int
    seed: int
    sequences: Sequences
    encode_users: EncodeUsers
    encode: Callable[[Sequences], Tensor]
    max_length: int
    validation_users: Tensor
    validation_items: Tensor


class Method(nn.Module):
    """A recommender over a backbone: what all methods share, and a default for every hook.

    A method sets the class attributes and `table`, and overrides what its paper does otherwise. By default an item's
    vector is its row of `table`, a state is what the backbone makes of the vectors, and an item's score is the inner
    product of its vector and the state.

    Attributes:
        name: its key in `methods` of the settings.
        title: what tables and figures call it.
        Settings: its section of the settings.
        loss: the ranking loss of its own paper (`train.loss: own`).
        soft_targets: the share of a target that its own paper gives to similar items (`train.soft_targets: own`).
        learned_apart: into how many equal parts vectors and states are cut, each with a ranking loss of its own.
        starts_from: the name of the method whose weights it starts from, trained first with the same seed.
        trains: false for a method that has no epochs: all that it learns it learns in `on_fit_end`, from the weights it
            starts from, if there are any.
        scores_by_product: true for a method that does not override `score`; candidates can then be scored alone.
        table: item ids (…) → vectors (…, D).
    """

    name: ClassVar[str]
    title: ClassVar[str]
    Settings: ClassVar[type[Section]]
    loss: ClassVar[Loss] = "bce"
    soft_targets: ClassVar[float] = 0.0
    learned_apart: ClassVar[int] = 1
    starts_from: ClassVar[str | None] = None
    trains: ClassVar[bool] = True
    scores_by_product: ClassVar[bool] = True
    table: nn.Module

    def __init_subclass__(cls) -> None:
        cls.scores_by_product = cls.score is Method.score

    def __init__(self, settings: Section, inputs: ModelInputs, backbone: Backbone) -> None:
        super().__init__()
        self.settings, self.backbone = settings, backbone

    @classmethod
    def attends_padding(cls, settings: Section) -> bool:
        """Whether self-attention sees the zero vectors that fill a sequence up to T."""
        return False

    def initialise(self) -> None:
        """Draw first values: Xavier-normal matrices. Tables keep theirs, biases and norms those of PyTorch."""
        for module in self.modules():
            if not isinstance(module, nn.Embedding):
                for parameter in module.parameters(recurse=False):
                    if parameter.dim() == 2:
                        nn.init.xavier_normal_(parameter)

    # --- training ---

    def item_vectors(self, items: Tensor) -> Tensor:
        """Return the vectors (…, W) of items (…), [MASK] among them."""
        return self.table(items)

    def states(self, sequences: Sequences, vectors: Tensor) -> Tensor:
        """Encode the item vectors (N, W) of sequences to states (N, W)."""
        return self.backbone.encode(self.backbone.place(vectors, sequences), sequences)

    def extra_loss(self, batch: Batch, states: Tensor) -> Tensor | None:
        """Return a loss beside the ranking loss, a mean over users or items, or None.

        Args:
            batch: names the users and where their own representations are.
            states: (N, W).
        """
        return None

    def on_epoch_start(self, context: TrainContext) -> None:
        """Look at all users before an epoch."""

    def on_fit_end(self, context: TrainContext) -> None:
        """Do what is left to do with the best weights."""

    def for_validation(self, users: Tensor) -> list[tuple[Tensor, "Method"]]:
        """Say which version of the method judges which validation users (n,), after `on_fit_end`.

        A method that learns from validation items in `on_fit_end` must not be judged by the same ones.

        Returns:
            rows of the users, and the method that has not learned from their items.
        """
        return [(torch.arange(len(users), device=users.device), self)]

    # --- inference ---

    def score(self, states: Tensor, table: Tensor, histories: Sequences) -> Tensor:
        """Score all items: (B, V + 1), column 0 is the padding's.

        Args:
            states: (B, W) what the histories end in.
            table: (V + 1, W) item vectors.
            histories: B sequences, whole (the states have seen the latest T items only).
        """
        return states @ table.T

    def views(self, items: Tensor) -> dict[str, Tensor]:
        """Take the vectors of items (…) apart: named parts (…, W) whose sum is `item_vectors(items)`."""
        return {"item": self.item_vectors(items)}

    def contributions(self, state: Tensor, views: Mapping[str, Tensor], history: Sequences) -> dict[str, Tensor]:
        """Take the scores of one history apart: named parts (V + 1,) whose sum is `score`.

        Args:
            state: (W,).
            views: name → (V + 1, W), parts of the item vectors.
            history: a single sequence.
        """
        return {name: view @ state for name, view in views.items()}

    def from_text(self, embeddings: Tensor) -> dict[str, Tensor]:
        """Return those of the `views` that an LLM embedding (n, L) alone gives, (n, W) each, for new items."""
        return {}

    def starts_at_zero(self, view: str) -> bool:
        """Whether zero is what a view has of an item that nobody has had."""
        return False

    def with_new_items(self, item_embeddings: np.ndarray, counts: np.ndarray, new_count: int) -> "Method":
        """Return a method whose `score` knows further items, which nobody has had. Vectors are not its concern.

        Args:
            item_embeddings: (V + n, L) of the items that were trained, then the new ones.
            counts: (V,) training interactions of the former.
            new_count: the training count that new ones are taken for.
        """
        return self
