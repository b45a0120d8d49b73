"""AlphaFuse (Hu et al., SIGIR 2025): IDs are learned in the null space of the text embeddings.

The text is turned to its principal directions. The leading ones, whitened, are kept and frozen; where the text hardly
varies, its semantic null space, there is room for a trained ID embedding that cannot blur them.
"""

import numpy as np
import torch
from torch import Tensor, nn

from llmesr.errors import InputError
from llmesr.models.backbones.base import Backbone
from llmesr.models.base import Method
from llmesr.models.inputs import ModelInputs, item_table
from llmesr.models.whitening import spectrum
from llmesr.section import Positive, Section


class NullSpaceIds(nn.Module):
    """Item ids → frozen text in the first D - K columns, trained IDs, started at zero, in the last K."""

    def __init__(self, text: Tensor, null_space: int) -> None:
        super().__init__()
        self.register_buffer("text", text, persistent=False)  # (V + 2, D - K)
        self.ids = nn.Embedding(len(text), null_space, padding_idx=0)
        nn.init.zeros_(self.ids.weight)

    def forward(self, items: Tensor) -> Tensor:
        """Return the vectors (…, D) of items (…)."""
        return torch.cat([nn.functional.embedding(items, self.text), self.ids(items)], -1)


def leading_directions(texts: np.ndarray, dimensions: int) -> np.ndarray:
    """Whiten texts (V, L) along their leading principal directions: (V, dimensions), each row of length about one."""
    centred = texts - texts.mean(0)
    values, directions = spectrum(centred)
    kept = min(dimensions, len(values))
    projected = centred @ directions[:, :kept] / np.sqrt(np.maximum(values[:kept], 1e-12))
    return np.pad(projected, ((0, 0), (0, dimensions - kept))) / np.sqrt(dimensions)


class AlphaFuse(Method):
    """The backbone on text and null-space IDs."""

    name = "alphafuse"
    title = "AlphaFuse"
    loss = "cross_entropy"

    class Settings(Section):
        """AlphaFuse's own settings."""

        null_space: Positive = 32
        """K, the dimensions of the IDs; the text keeps D - K (AlphaFuse's paper: half of D = 128)."""

    def __init__(self, settings: "AlphaFuse.Settings", inputs: ModelInputs, backbone: Backbone) -> None:
        super().__init__(settings, inputs, backbone)
        if settings.null_space >= inputs.hidden:
            raise InputError(
                f"key 'methods.alphafuse.null_space' is {settings.null_space}, which leaves nothing of 'model.hidden' "
                f"({inputs.hidden}) to the text: lower it"
            )
        text = leading_directions(inputs.item_embeddings[1:], inputs.hidden - settings.null_space)
        self.table = NullSpaceIds(item_table(text), settings.null_space)
