"""RLMRec (Ren et al., WWW 2024), adapted to sequences: in training, representations are aligned with LLM embeddings.

Con: an MLP brings the LLM embedding to the item's and the user's representation, InfoNCE pulls the pairs together.
Gen: some input items are hidden, and what the backbone makes of them must reconstruct the LLM embedding.
Nothing of it remains at inference: the recommender is the backbone alone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmesr.models.backbones.base import Backbone
from llmesr.models.base import Batch, Method
from llmesr.models.inputs import ModelInputs, random_table
from llmesr.section import Rate, Section, Share, Weight
from llmesr.sequences import Sequences

COMPARED = 1024
"""Items that are contrasted with one another in a step at most: bounds the table of similarities."""


def info_nce(x: Tensor, y: Tensor, positives: Tensor, temperature: float) -> Tensor:
    """−log softmax of the cosine between x_i (n, D) and its positive among y (m, D), over temperature: the mean."""
    return F.cross_entropy(F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).T / temperature, positives)


def _mapper(width: int, out: int) -> nn.Sequential:
    middle = (width + out) // 2
    return nn.Sequential(nn.Linear(width, middle), nn.LeakyReLU(), nn.Linear(middle, out))


class RLMRecCon(Method):
    """RLMRec-Con."""

    name = "rlmrec_con"
    title = "RLMRec-Con"

    class Settings(Section):
        """RLMRec-Con's own settings."""

        weight: Weight = 0.01
        """Weight of the alignment (RLMRec's paper: 0.01)."""
        temperature: Rate = 0.2
        """Temperature of InfoNCE (RLMRec's paper: 0.2)."""

    def __init__(self, settings: "RLMRecCon.Settings", inputs: ModelInputs, backbone: Backbone) -> None:
        super().__init__(settings, inputs, backbone)
        self.table = random_table(inputs.n_items, inputs.hidden)
        self.register_buffer("item_embeddings", inputs.semantic_table, persistent=False)  # (V + 2, L), frozen
        self.register_buffer("user_embeddings", torch.from_numpy(inputs.user_embeddings), persistent=False)  # (U, L)
        self.mapper = _mapper(inputs.semantic_table.shape[1], inputs.hidden)  # L → (L + D)/2 → D

    def extra_loss(self, batch: Batch, states: Tensor) -> Tensor:
        """Align the items to predict, and the users, with their LLM embeddings."""
        items = batch.targets[batch.targets > 0].unique()
        items = items[torch.randperm(len(items))[:COMPARED].to(items.device)]
        pairs = [
            (self.table(items), self.mapper(F.embedding(items, self.item_embeddings))),
            (states[batch.last], self.mapper(self.user_embeddings[batch.represented])),
        ]
        losses = [
            info_nce(x, y, torch.arange(len(x), device=x.device), self.settings.temperature) for x, y in pairs if len(x)
        ]
        return self.settings.weight * sum(losses)


class RLMRecGen(Method):
    """RLMRec-Gen."""

    name = "rlmrec_gen"
    title = "RLMRec-Gen"

    class Settings(Section):
        """RLMRec-Gen's own settings."""

        weight: Weight = 0.1
        """Weight of the reconstruction (RLMRec's paper: 0.01 to 0.1)."""
        temperature: Rate = 0.2
        """Temperature of InfoNCE (RLMRec's paper: 0.1 to 0.5)."""
        mask_share: Share = 0.1
        """Share of input items that are hidden (RLMRec's paper: 0.05 to 0.15)."""

    def __init__(self, settings: "RLMRecGen.Settings", inputs: ModelInputs, backbone: Backbone) -> None:
        super().__init__(settings, inputs, backbone)
        self.table = random_table(inputs.n_items, inputs.hidden)
        self.register_buffer("item_embeddings", inputs.semantic_table, persistent=False)  # (V + 2, L), frozen
        self.hidden_token = nn.Parameter(torch.zeros(inputs.hidden))
        self.mapper = _mapper(inputs.hidden, inputs.semantic_table.shape[1])  # D → (D + L)/2 → L
        self._hidden: Tensor | None = None  # (N,) true where the last training pass did not see the item

    def states(self, sequences: Sequences, vectors: Tensor) -> Tensor:
        """Encode N item vectors (N, D) to states (N, D); in training some of them are hidden by a learned token."""
        if self.training:
            is_item = sequences.items < len(self.table.weight) - 1  # [MASK] has nothing to reconstruct
            lottery = torch.rand(len(vectors), device=vectors.device)
            self._hidden = (lottery < self.settings.mask_share) & is_item
            vectors = torch.where(self._hidden[:, None], self.hidden_token, vectors)
        return super().states(sequences, vectors)

    def extra_loss(self, batch: Batch, states: Tensor) -> Tensor | None:
        """Reconstruct the LLM embedding of hidden items from the states in their place, by in-batch InfoNCE."""
        where = self._hidden.nonzero().squeeze(1)[:COMPARED]
        if not len(where):
            return None
        own = batch.inputs.items
        if self.backbone.objective == "cloze":  # which shows a random item in some places
            own = torch.where(batch.targets > 0, batch.targets, own)
        items, positives = own[where].unique(return_inverse=True)
        reconstructed = self.mapper(states[where])  # (n, L)
        truth = F.embedding(items, self.item_embeddings)
        return self.settings.weight * info_nce(reconstructed, truth, positives, self.settings.temperature)
