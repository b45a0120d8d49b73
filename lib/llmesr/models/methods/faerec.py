"""FAERec (arXiv 2604.03688): a gate weighs ID against text in every dimension, and two losses align their spaces.

Written after the authors' code, where training scores items by their IDs alone, and recommending by ID plus text.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmesr.models.backbones.base import Backbone
from llmesr.models.base import Batch, Method, TrainContext
from llmesr.models.dropout import Dropout
from llmesr.models.inputs import ModelInputs
from llmesr.section import Fraction, Positive, Rate, Section, Weight
from llmesr.sequences import Sequences

COMPARED = 1024
"""Items that are aligned in a step at most: bounds the table of similarities."""


def item_alignment(ids: Tensor, text: Tensor, temperature: float) -> Tensor:
    """InfoNCE: the ID (n, D) of each item must find its own text (n, D) among those of all n items."""
    cosines = F.normalize(ids, dim=-1) @ F.normalize(text, dim=-1).T  # (n, n)
    return F.cross_entropy(cosines / temperature, torch.arange(len(ids), device=ids.device))


def feature_alignment(ids: Tensor, text: Tensor, redundancy: float) -> Tensor:
    """Barlow Twins: dimension i of IDs (n, D) must correlate with dimension i of texts (n, D), and with no other."""
    standard = [(x - x.mean(0)) / (x.std(0) + 1e-5) for x in (ids, text)]
    error = (standard[0].T @ standard[1] / len(ids) - torch.eye(ids.shape[1], device=ids.device)) ** 2  # (D, D)
    own = error.diagonal().sum()
    return own + redundancy * (error.sum() - own)


class FAERec(Method):
    """A backbone over gated sums of ID and text. A vector (2D) holds both, a state (2D) is zero in the second half."""

    name = "faerec"
    title = "FAERec"

    class Settings(Section):
        """FAERec's own settings."""

        weight: Weight = 0.2
        """Weight of both alignments (FAERec's code: 0.2)."""
        temperature: Rate = 0.05
        """Temperature of the items' alignment (FAERec's code: 0.05)."""
        redundancy: Weight = 0.005
        """Weight of what different dimensions share, in the features' alignment (FAERec's code: 0.005)."""
        least: Fraction = 0.9
        """Least share of the items' alignment; the features' one has the rest (FAERec's code: 0.9)."""
        period: Positive = 30
        """Epochs in which the share falls from 1 to the least and rises again (FAERec's code: 30)."""

    def __init__(self, settings: "FAERec.Settings", inputs: ModelInputs, backbone: Backbone) -> None:
        super().__init__(settings, inputs, backbone)
        D, L = inputs.hidden, inputs.item_embeddings.shape[1]
        self.ids = nn.Embedding.from_pretrained(inputs.pca_table.clone(), freeze=False, padding_idx=0)
        self.register_buffer("text", inputs.semantic_table, persistent=False)  # (V + 2, L), frozen
        self.adapter = nn.Sequential(nn.Linear(L, L // 2), nn.GELU(), Dropout(0.3), nn.Linear(L // 2, D))
        self.gate = nn.Sequential(nn.Linear(2 * D, 2 * D), nn.GELU(), Dropout(0.1), nn.Linear(2 * D, D), nn.Sigmoid())
        self.norm = nn.LayerNorm(D, eps=1e-12)
        self.item_share = 1.0
        self.register_buffer("popularity", torch.zeros(inputs.n_items + 2), persistent=False)

    def item_vectors(self, items: Tensor) -> Tensor:
        """Return ID and adapted text of items (…), side by side: (…, 2D)."""
        return torch.cat([self.ids(items), self.adapter(F.embedding(items, self.text))], -1)

    def states(self, sequences: Sequences, vectors: Tensor) -> Tensor:
        """Weigh ID against text in every dimension, encode the sums (N, D), append zeros: (N, 2D)."""
        ids, text = (self.backbone.place(half, sequences) for half in vectors.chunk(2, -1))  # (N, D) each
        gate = self.gate(torch.cat([ids, text], -1))  # (N, D)
        states = self.backbone.encode(self.norm(gate * ids + (1 - gate) * text), sequences)
        return F.pad(states, (0, states.shape[-1]))  # so that the product with a vector is that with its ID

    # --- training ---

    def on_epoch_start(self, context: TrainContext) -> None:
        """Count items in the first epoch, and move on in the curriculum."""
        if not self.popularity.any():
            self.popularity = context.sequences.items.bincount(minlength=len(self.popularity)).float()
        phase = (1 + math.cos(2 * math.pi * context.epoch / self.settings.period)) / 2
        self.item_share = self.settings.least + (1 - self.settings.least) * phase

    def extra_loss(self, batch: Batch, states: Tensor) -> Tensor:
        """Align IDs with texts: the items of the batch, and the features of popular and of rare ones apart."""
        items = torch.cat([batch.inputs.items, batch.targets]).unique()
        items = items[(items > 0) & (items < len(self.text) - 1)]  # neither padding nor [MASK]
        items = items[torch.randperm(len(items))[:COMPARED].to(items.device)]
        ids, text = self.item_vectors(items).chunk(2, -1)  # (n, D) each
        popularity = self.popularity[items]
        popular = popularity >= popularity.median()
        features = [
            feature_alignment(ids[part], text[part], self.settings.redundancy)
            for part in (popular, ~popular)
            if part.sum() > 1
        ]
        of_items = item_alignment(ids, text, self.settings.temperature)
        return self.settings.weight * (self.item_share * of_items + (1 - self.item_share) * sum(features))

    # --- inference ---

    def score(self, states: Tensor, table: Tensor, histories: Sequences) -> Tensor:
        """Score all items by the normed sum of ID and text: (B, V + 1)."""
        ids, text = table.chunk(2, -1)
        return states[:, : ids.shape[-1]] @ self.norm(ids + text).T

    def views(self, items: Tensor) -> dict[str, Tensor]:
        """Take the vectors of items apart: each half, and zeros for the other one; (…, 2D) each."""
        ids, text = self.item_vectors(items).chunk(2, -1)
        return {"ID": F.pad(ids, (0, text.shape[-1])), "text": F.pad(text, (ids.shape[-1], 0))}

    def contributions(self, state: Tensor, views: Mapping[str, Tensor], history: Sequences) -> dict[str, Tensor]:
        """Take the scores of one history apart: ID, text, and what the norm adds to every item; (V + 1,) each."""
        parts = {name: sum(view.chunk(2, -1)) for name, view in views.items()}  # (V + 1, D) each
        state = state[: len(state) // 2]
        spread = (sum(parts.values()).var(-1, unbiased=False) + self.norm.eps).sqrt()  # (V + 1,)
        scores = {
            name: (part - part.mean(-1, keepdim=True)) @ (self.norm.weight * state) / spread
            for name, part in parts.items()
        }
        return {**scores, "norm": (self.norm.bias @ state).expand_as(spread)}

    def from_text(self, embeddings: Tensor) -> dict[str, Tensor]:
        """Place new items, of which there is an LLM embedding (n, L) only."""
        text = self.adapter(embeddings)
        return {"text": F.pad(text, (text.shape[-1], 0))}
