"""A backbone over one view of items: what methods share that differ in what gives an item its vector."""

from torch import Tensor, nn

from llmesr.models.backbones import Backbone
from llmesr.models.contract import Batch, Overview
from llmesr.models.ragged import Ragged


class SingleView(nn.Module):
    """Item ids → vectors → backbone → states; score = state · item vector.

    Attributes:
        table: ids (…) → (…, D), an embedding or what a method makes of the text.
    """

    def __init__(self, backbone: Backbone, table: nn.Module) -> None:
        super().__init__()
        self.backbone, self.table = backbone, table

    def states(self, sequences: Ragged, vectors: Tensor, *, last_only: bool = False) -> Tensor:
        """Encode N item vectors (N, D) to states (N, D), or to the B last ones (B, D)."""
        return self.backbone.encode(self.backbone.place(vectors, sequences), sequences, last_only=last_only)

    def item_vectors(self, items: Tensor) -> Tensor:
        """Return the vectors (…, D) of items (…)."""
        return self.table(items)

    def start_epoch(self, overview: Overview) -> None:
        """Do nothing."""

    def extra_loss(self, batch: Batch, states: Tensor) -> Tensor | None:
        """Return no further loss."""
        return None

    def finish(self, overview: Overview) -> None:
        """Do nothing."""
