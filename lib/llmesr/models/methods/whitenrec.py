"""WhitenRec+ (Zhang et al., ICDE 2024, arXiv 2402.10602): items are their whitened text alone, seen twice.

Once whitened fully, once by groups of columns, which keeps more of what texts have in common; one projection head reads
both, and the item is the sum. With one group the second is left out, which is WhitenRec.
"""

import torch
from torch import Tensor, nn

from llmesr.models.ingredients import Ingredients, for_items
from llmesr.models.methods.single_view import SingleView
from llmesr.models.whitening import whiten
from llmesr.settings import WhitenRec


class WhitenedText(nn.Module):
    """Item ids → projected whitened text."""

    def __init__(self, views: list[Tensor], hidden: int) -> None:
        super().__init__()
        self.register_buffer("views", torch.stack(views, 1), persistent=False)  # (V + 2, 1 or 2, L), frozen
        self.head = nn.Sequential(nn.Linear(views[0].shape[1], hidden), nn.ReLU(), nn.Linear(hidden, hidden))

    def forward(self, items: Tensor) -> Tensor:
        """Return the vectors (…, D) of items (…)."""
        return self.head(self.views[items]).sum(-2)


def build(settings: WhitenRec, given: Ingredients) -> SingleView:
    """Build the backbone on whitened text."""
    texts = given.embeddings.items[1:]
    groups = dict.fromkeys([1, settings.groups])
    views = [for_items(whiten(texts, groups=count)) for count in groups]
    return SingleView(given.backbone, WhitenedText(views, given.hidden))
