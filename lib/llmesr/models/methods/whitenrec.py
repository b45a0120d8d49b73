"""WhitenRec+ (Zhang et al., ICDE 2024, arXiv 2402.10602): items are their whitened text alone, seen twice.

Once whitened fully, once by groups of columns, which keeps more of what texts have in common; one projection head reads
both, and the item is the sum. With one group the second is left out, which is WhitenRec.
"""

import torch
from torch import Tensor, nn

from llmesr.models.backbones.base import Backbone
from llmesr.models.base import Method
from llmesr.models.inputs import ModelInputs, item_table
from llmesr.models.whitening import whiten
from llmesr.section import Positive, Section


class WhitenedText(nn.Module):
    """Item ids → projected whitened text."""

    def __init__(self, views: list[Tensor], hidden: int) -> None:
        super().__init__()
        self.register_buffer("views", torch.stack(views, 1), persistent=False)  # (V + 2, 1 or 2, L), frozen
        self.head = nn.Sequential(nn.Linear(views[0].shape[1], hidden), nn.ReLU(), nn.Linear(hidden, hidden))

    def forward(self, items: Tensor) -> Tensor:
        """Return the vectors (…, D) of items (…)."""
        return self.head(self.views[items]).sum(-2)


class WhitenRec(Method):
    """The backbone on whitened text."""

    name = "whitenrec"
    title = "WhitenRec+"
    loss = "cross_entropy"

    class Settings(Section):
        """WhitenRec's own settings."""

        groups: Positive = 4
        """Groups of columns that the relaxed whitening treats apart; 1 leaves it out (WhitenRec's paper: 4 or more)."""

    def __init__(self, settings: "WhitenRec.Settings", inputs: ModelInputs, backbone: Backbone) -> None:
        super().__init__(settings, inputs, backbone)
        texts, groups = inputs.item_embeddings[1:], dict.fromkeys([1, settings.groups])
        views = [item_table(whiten(texts, groups=count)) for count in groups]
        self.table = WhitenedText(views, inputs.hidden)
