"""A backbone over one trained item table: what `none` and `llminit` share, and differ in the table's first value."""

from torch import Tensor, nn

from llmesr.models.backbones import Backbone
from llmesr.models.contract import Batch, Lesson
from llmesr.models.ragged import Ragged


class SingleView(nn.Module):
    """Item table → backbone → states; score = state · item vector."""

    def __init__(self, backbone: Backbone, table: nn.Embedding) -> None:
        super().__init__()
        self.backbone, self.table = backbone, table

    def states(self, sequences: Ragged, vectors: Tensor, *, last_only: bool = False) -> Tensor:
        """Encode N item vectors (N, D) to states (N, D), or to the B last ones (B, D)."""
        return self.backbone.encode(self.backbone.place(vectors, sequences), sequences, last_only=last_only)

    def item_vectors(self, items: Tensor) -> Tensor:
        """Return the vectors (…, D) of items (…)."""
        return self.table(items)

    def start_epoch(self, lesson: Lesson) -> None:
        """Do nothing."""

    def extra_loss(self, batch: Batch, states: Tensor) -> Tensor | None:
        """Return no further loss."""
        return None

    def finish(self, lesson: Lesson) -> None:
        """Do nothing."""
