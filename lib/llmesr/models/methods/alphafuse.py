"""AlphaFuse (Hu et al., SIGIR 2025): IDs are learned in the null space of the text embeddings.

The text is turned to its principal directions. The leading ones, whitened, are kept and frozen; where the text hardly
varies, its semantic null space, there is room for a trained ID embedding that cannot blur them.
"""

import numpy as np
import torch
from torch import Tensor, nn

from llmesr.errors import InputError
from llmesr.models.ingredients import Ingredients, for_items
from llmesr.models.methods.single_view import SingleView
from llmesr.models.whitening import spectrum
from llmesr.settings import AlphaFuse


class NullSpaceIds(nn.Module):
    """Item ids → frozen text in the first D - K columns, trained IDs, started at zero, in the last K."""

    def __init__(self, text: Tensor, null: int) -> None:
        super().__init__()
        self.register_buffer("text", text, persistent=False)  # (V + 2, D - K)
        self.ids = nn.Embedding(len(text), null, padding_idx=0)
        nn.init.zeros_(self.ids.weight)

    def forward(self, items: Tensor) -> Tensor:
        """Return the vectors (…, D) of items (…)."""
        return torch.cat([nn.functional.embedding(items, self.text), self.ids(items)], -1)


def leading(texts: np.ndarray, dimensions: int) -> np.ndarray:
    """Whiten texts (V, L) along their leading principal directions: (V, dimensions), each row of length about one."""
    centred = texts - texts.mean(0)
    values, directions = spectrum(centred)
    kept = min(dimensions, len(values))
    found = centred @ directions[:, :kept] / np.sqrt(np.maximum(values[:kept], 1e-12))
    return np.pad(found, ((0, 0), (0, dimensions - kept))) / np.sqrt(dimensions)


def build(settings: AlphaFuse, given: Ingredients) -> SingleView:
    """Build the backbone on text and null-space IDs.

    Raises:
        InputError: no dimension would be left for the text.
    """
    if settings.null_space >= given.hidden:
        raise InputError(
            f"key 'methods.alphafuse.null_space' is {settings.null_space}, which leaves nothing of 'model.hidden' "
            f"({given.hidden}) to the text: lower it"
        )
    text = for_items(leading(given.embeddings.items[1:], given.hidden - settings.null_space))
    return SingleView(given.backbone, NullSpaceIds(text, settings.null_space))
