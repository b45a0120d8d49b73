"""RLMRec (Ren et al., WWW 2024), adapted to sequences: in training, representations are aligned with LLM embeddings.

Con: an MLP brings the LLM embedding to the item's and the user's representation, InfoNCE pulls the pairs together.
Gen: some input items are hidden, and what the backbone makes of them must tell the LLM embedding.
Nothing of it remains at inference: the recommender is the plain backbone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmesr.models.contract import Batch, Overview
from llmesr.models.ingredients import Ingredients
from llmesr.models.methods import none
from llmesr.models.methods.single_view import SingleView
from llmesr.models.ragged import Ragged
from llmesr.settings import RlmRecCon, RlmRecGen

COMPARED = 1024
"""Items that are contrasted with one another in a step at most: bounds the table of similarities."""


def info_nce(x: Tensor, y: Tensor, positives: Tensor, temperature: float) -> Tensor:
    """−log softmax of the cosine between x_i (n, D) and its positive among y (m, D), over temperature: the mean."""
    return F.cross_entropy(F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).T / temperature, positives)


def _mapper(width: int, out: int) -> nn.Sequential:
    middle = (width + out) // 2
    return nn.Sequential(nn.Linear(width, middle), nn.LeakyReLU(), nn.Linear(middle, out))


class Contrastive(nn.Module):
    """RLMRec-Con."""

    def __init__(self, plain: SingleView, given: Ingredients, settings: RlmRecCon) -> None:
        super().__init__()
        self.backbone, self.table, self.settings = plain.backbone, plain.table, settings
        self.register_buffer("of_items", given.semantic, persistent=False)  # (V + 2, L), frozen
        self.register_buffer("of_users", given.of_users, persistent=False)  # (U, L), frozen
        self.mapper = _mapper(given.semantic.shape[1], given.hidden)  # L → (L + D)/2 → D

    def item_vectors(self, items: Tensor) -> Tensor:
        """Return the vectors (…, D) of items (…)."""
        return self.table(items)

    def states(self, sequences: Ragged, vectors: Tensor, *, last_only: bool = False) -> Tensor:
        """Encode N item vectors (N, D) to states (N, D), or to the B last ones (B, D)."""
        return self.backbone.encode(self.backbone.place(vectors, sequences), sequences, last_only=last_only)

    def start_epoch(self, overview: Overview) -> None:
        """Do nothing."""

    def extra_loss(self, batch: Batch, states: Tensor) -> Tensor | None:
        """Align the items to predict, and the users, with what the LLM says of them."""
        items = batch.targets[batch.targets > 0].unique()
        items = items[torch.randperm(len(items))[:COMPARED].to(items.device)]
        pairs = [
            (self.table(items), self.mapper(F.embedding(items, self.of_items))),
            (states[batch.last], self.mapper(self.of_users[batch.represented])),
        ]
        losses = [
            info_nce(x, y, torch.arange(len(x), device=x.device), self.settings.temperature) for x, y in pairs if len(x)
        ]
        return self.settings.weight * sum(losses)

    def finish(self, overview: Overview) -> None:
        """Do nothing."""


class Generative(nn.Module):
    """RLMRec-Gen."""

    def __init__(self, plain: SingleView, given: Ingredients, settings: RlmRecGen) -> None:
        super().__init__()
        self.backbone, self.table, self.settings = plain.backbone, plain.table, settings
        self.register_buffer("of_items", given.semantic, persistent=False)
        self.hidden_token = nn.Parameter(torch.zeros(given.hidden))
        self.mapper = _mapper(given.hidden, given.semantic.shape[1])  # D → (D + L)/2 → L
        self._hidden: Tensor | None = None  # (N,) true where the last training pass did not see the item

    def item_vectors(self, items: Tensor) -> Tensor:
        """Return the vectors (…, D) of items (…)."""
        return self.table(items)

    def states(self, sequences: Ragged, vectors: Tensor, *, last_only: bool = False) -> Tensor:
        """Encode N item vectors (N, D) to states (N, D); in training some of them are hidden by a learned token."""
        if self.training:
            is_item = sequences.items < len(self.table.weight) - 1  # [MASK] has nothing to tell
            lottery = torch.rand(len(vectors), device=vectors.device)
            self._hidden = (lottery < self.settings.mask_share) & is_item
            vectors = torch.where(self._hidden[:, None], self.hidden_token, vectors)
        return self.backbone.encode(self.backbone.place(vectors, sequences), sequences, last_only=last_only)

    def start_epoch(self, overview: Overview) -> None:
        """Do nothing."""

    def extra_loss(self, batch: Batch, states: Tensor) -> Tensor | None:
        """Tell the LLM embedding of hidden items from the states in their place, among those of the other ones."""
        where = self._hidden.nonzero().squeeze(1)[:COMPARED]
        if not len(where):
            return None
        own = batch.inputs.items
        if self.backbone.objective == "cloze":  # which shows a random item in some places
            own = torch.where(batch.targets > 0, batch.targets, own)
        items, positives = own[where].unique(return_inverse=True)
        told = self.mapper(states[where])
        return self.settings.weight * info_nce(
            told, F.embedding(items, self.of_items), positives, self.settings.temperature
        )

    def finish(self, overview: Overview) -> None:
        """Do nothing."""


def build_contrastive(settings: RlmRecCon, given: Ingredients) -> Contrastive:
    """Build RLMRec-Con around the plain backbone."""
    return Contrastive(none.build(settings, given), given, settings)


def build_generative(settings: RlmRecGen, given: Ingredients) -> Generative:
    """Build RLMRec-Gen around the plain backbone."""
    return Generative(none.build(settings, given), given, settings)
