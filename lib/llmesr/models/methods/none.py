"""None: the plain backbone, its item table started at random (Xavier-normal)."""

from torch import nn

from llmesr.models.ingredients import Ingredients
from llmesr.models.methods.single_view import SingleView
from llmesr.settings import Plain


def build(settings: Plain, given: Ingredients) -> SingleView:
    """Build the plain backbone."""
    table = nn.Embedding(given.rows, given.hidden, padding_idx=0)
    nn.init.xavier_normal_(table.weight)
    nn.init.zeros_(table.weight[0])
    return SingleView(given.backbone, table)
