"""LLMInit (Harte et al., RecSys 2023): the PCA of the LLM embeddings is the item table's first value."""

from torch import nn

from llmesr.models.ingredients import Ingredients
from llmesr.models.methods.single_view import SingleView
from llmesr.settings import Plain


def build(settings: Plain, given: Ingredients) -> SingleView:
    """Build the backbone on a table that starts at the PCA and is trained as usual."""
    table = nn.Embedding.from_pretrained(given.initial.clone(), freeze=False, padding_idx=0)
    return SingleView(given.backbone, table)
