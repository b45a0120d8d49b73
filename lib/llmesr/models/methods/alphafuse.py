"""AlphaFuse (Hu et al., SIGIR 2025): IDs are learned in the null space of the text embeddings.

The text is turned to its D leading principal directions, whitened and frozen. On the last K of them, where the text
hardly varies (its semantic null space), a trained ID embedding is added: it has room there and cannot blur the
leading ones. That is what the authors' code does by default; in their other form the IDs stand there instead of the
text. Items and states meet by cosine over a temperature. Their InfoNCE draws 64 negatives a position; ours compares
with all items.
"""

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from llmesr.errors import InputError
from llmesr.models.backbones.base import Backbone
from llmesr.models.base import Method
from llmesr.models.inputs import ModelInputs, item_table
from llmesr.models.whitening import spectrum
from llmesr.section import Positive, Rate, Section
from llmesr.sequences import Sequences


class NullSpaceIds(nn.Module):
    """Item ids → frozen text, with trained IDs, started at zero, added in the last K columns."""

    def __init__(self, text: Tensor, null_space: int) -> None:
        super().__init__()
        self.register_buffer("text", text, persistent=False)  # (V + 2, D)
        self.ids = nn.Embedding(len(text), null_space, padding_idx=0)
        nn.init.zeros_(self.ids.weight)

    def forward(self, items: Tensor) -> Tensor:
        """Return the vectors (…, D) of items (…)."""
        text, ids = F.embedding(items, self.text), self.ids(items)  # (…, D), (…, K)
        return text + F.pad(ids, (text.shape[-1] - ids.shape[-1], 0))


def leading_directions(texts: np.ndarray, dimensions: int) -> np.ndarray:
    """Whiten texts (V, L) along their leading principal directions: (V, dimensions), each column of variance one."""
    centred = texts - texts.mean(0)
    values, directions = spectrum(centred)
    kept = min(dimensions, len(values))
    projected = centred @ directions[:, :kept] / np.sqrt(np.maximum(values[:kept], 1e-12))
    return np.pad(projected, ((0, 0), (0, dimensions - kept)))


class AlphaFuse(Method):
    """The backbone on text and null-space IDs; the score is a cosine over a temperature."""

    name = "alphafuse"
    title = "AlphaFuse"
    loss = "cross_entropy"

    class Settings(Section):
        """AlphaFuse's own settings."""

        null_space: Positive = 32
        """K, the dimensions of the IDs (AlphaFuse's paper: half of D = 128)."""
        temperature: Rate = 0.07
        """Temperature of the cosine (AlphaFuse's code: 0.07)."""

    def __init__(self, settings: "AlphaFuse.Settings", inputs: ModelInputs, backbone: Backbone) -> None:
        super().__init__(settings, inputs, backbone)
        if settings.null_space > inputs.hidden:
            raise InputError(
                f"key 'methods.alphafuse.null_space' is {settings.null_space}, more than 'model.hidden' "
                f"({inputs.hidden}): lower it"
            )
        text = leading_directions(inputs.item_embeddings[1:], inputs.hidden)
        self.table = NullSpaceIds(item_table(text), settings.null_space)

    def states(self, sequences: Sequences, vectors: Tensor) -> Tensor:
        """Encode N item vectors (N, D) to states of length 1 / τ: (N, D)."""
        return F.normalize(super().states(sequences, vectors), dim=-1) / self.settings.temperature

    def item_vectors(self, items: Tensor) -> Tensor:
        """Return the vectors (…, D), of length one, of items (…)."""
        return F.normalize(self.table(items), dim=-1)
