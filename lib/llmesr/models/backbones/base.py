"""What every backbone has: a sequence of item vectors in, a state at each position out."""

from typing import ClassVar, Literal

from torch import Tensor, nn

from llmesr.section import Dropout, Positive, Section
from llmesr.sequences import Sequences

Objective = Literal["every_position", "last_item", "cloze"]


class ModelSettings(Section):
    """Sizes that every backbone shares."""

    hidden: Positive = 64
    """D, the width of item vectors and states (paper: 64)."""
    dropout: Dropout = 0.5
    """Share of what is dropped, of inputs, attention weights and feed-forward layers (paper: 0.5)."""


class Backbone(nn.Module):
    """A sequence encoder.

    A backbone is one file: a class with `name`, `title`, its `Settings` and `encode`. It is built from its own
    settings, those of all models, T (the latest items that are read), and whether a method attends to zero vectors.

    Attributes:
        objective: what it is trained to predict: the next item at `every_position`, the `last_item` alone, or hidden
            items (`cloze`), for which it has `mask_share`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    Settings: ClassVar[type[Section]]
    objective: Objective = "every_position"

    def __init__(
        self, settings: Section, model: ModelSettings, max_length: int, *, attend_padding: bool = False
    ) -> None:
        super().__init__()
        self.settings = settings

    def place(self, x: Tensor, sequences: Sequences) -> Tensor:
        """Put item vectors x (N, D) on their positions: (N, D). A backbone without positions returns x."""
        return x

    def encode(self, x: Tensor, sequences: Sequences) -> Tensor:
        """Turn placed item vectors x (N, D) into states (N, D)."""
        raise NotImplementedError
