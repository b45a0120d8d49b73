"""EnsRec (arXiv 2512.17820): one model of IDs and one of texts, trained apart, their scores added up.

The null hypothesis of every method that fuses the two: a fusion must be better than no fusion at all.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmesr.models.backbones.base import Backbone
from llmesr.models.base import Method
from llmesr.models.inputs import ModelInputs, item_table, random_table
from llmesr.models.whitening import location
from llmesr.section import Section
from llmesr.sequences import Sequences


class EnsRec(Method):
    """Two backbones side by side: the first half of every vector is of the ID, the second of the text."""

    name = "ensrec"
    title = "EnsRec"
    loss = "cross_entropy"
    learned_apart = 2

    class Settings(Section):
        """EnsRec has no settings of its own."""

    def __init__(self, settings: "EnsRec.Settings", inputs: ModelInputs, backbone: Backbone) -> None:
        super().__init__(settings, inputs, backbone)
        self.text_backbone = copy.deepcopy(backbone)
        self.ids = random_table(inputs.n_items, inputs.hidden)
        self._mean, self._spread = location(inputs.item_embeddings[1:])
        scaled = (inputs.item_embeddings[1:] - self._mean) / self._spread
        self.register_buffer("text", item_table(scaled), persistent=False)  # (V + 2, L), frozen
        self.adapter = nn.Linear(scaled.shape[1], inputs.hidden, bias=False)

    def item_vectors(self, items: Tensor) -> Tensor:
        """Return the vectors (…, 2D) of items (…)."""
        return torch.cat([self.ids(items), self.adapter(F.embedding(items, self.text))], -1)

    def states(self, sequences: Sequences, vectors: Tensor) -> Tensor:
        """Encode each half (N, D) by its own backbone: (N, 2D)."""
        halves = zip((self.backbone, self.text_backbone), vectors.chunk(2, -1), strict=True)
        return torch.cat([own.encode(own.place(half, sequences), sequences) for own, half in halves], -1)

    def views(self, items: Tensor) -> dict[str, Tensor]:
        """Take the vectors of items apart: each half, and zeros for the other one; (…, 2D) each."""
        ids, text = self.item_vectors(items).chunk(2, -1)
        return {"ID": F.pad(ids, (0, text.shape[-1])), "text": F.pad(text, (ids.shape[-1], 0))}

    def from_text(self, embeddings: Tensor) -> dict[str, Tensor]:
        """Place new items, of which there is an LLM embedding (n, L) only."""
        text = self.adapter((embeddings - torch.as_tensor(self._mean)) / self._spread)
        return {"text": F.pad(text, (text.shape[-1], 0))}
