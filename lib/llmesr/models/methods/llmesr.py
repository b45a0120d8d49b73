"""LLM-ESR (Liu et al., NeurIPS 2024): dual view and retrieval-augmented self-distillation."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from llmesr.models.backbones import Backbone
from llmesr.models.contract import Batch, Overview
from llmesr.models.dual_view import DualView
from llmesr.models.ingredients import Ingredients
from llmesr.models.ragged import Ragged
from llmesr.settings import LlmEsr


class LLMESR(nn.Module):
    """Two views of each item, one shared backbone that encodes both, similar users as teachers."""

    def __init__(self, backbone: Backbone, view: DualView, neighbours: Tensor, settings: LlmEsr) -> None:
        super().__init__()
        self.backbone, self.view, self.settings = backbone, view, settings
        apart = settings.views == "both" and not settings.shared_encoder
        self.second = copy.deepcopy(backbone) if apart else None
        self.register_buffer("neighbours", neighbours, persistent=False)  # (U, N)
        self._encode_alone: Callable[[Tensor], Tensor] | None = None
        self._bank: Tensor | None = None  # (U, 2D) of all users, kept for the epoch

    def states(self, sequences: Ragged, vectors: Tensor, *, last_only: bool = False) -> Tensor:
        """Encode N items' [e_se : e_co] to [u_se : u_co]: (N, 2D), or (N, D) of one view; B rows if only the last."""
        if self.settings.views != "both":
            return self.backbone.encode(self.backbone.place(vectors, sequences), sequences, last_only=last_only)
        encoders = (self.backbone, self.second or self.backbone)
        parts = zip(encoders, vectors.chunk(2, -1), strict=True)
        se, co = (encoder.place(view, sequences) for encoder, view in parts)  # (N, D) each
        fused = self.view.fuse(se, co, sequences) if self.settings.fusion else torch.stack([se, co], 1)  # (N, 2, D)
        if self.second is None:
            return self.backbone.encode(fused, sequences, last_only=last_only).flatten(1)  # one for both
        apart = [encoder.encode(fused[:, i], sequences, last_only=last_only) for i, encoder in enumerate(encoders)]
        return torch.cat(apart, -1)

    def item_vectors(self, items: Tensor) -> Tensor:
        """Return [e_se : e_co] (…, 2D) of items (…): the score is P(v|S_u) = [e_se : e_co]ᵀ [u_se : u_co] (Eq. 6)."""
        return self.view.item_vectors(items)

    def views(self, items: Tensor) -> dict[str, Tensor]:
        """Take the vectors of items apart: [e_se : 0] and [0 : e_co], (…, 2D) each."""
        if self.settings.views != "both":
            return {self.settings.views: self.item_vectors(items)}
        se, co = self.view.views(items)
        return {"semantic": pad(se, (0, co.shape[-1])), "collaborative": pad(co, (se.shape[-1], 0))}

    def from_text(self, texts: Tensor) -> dict[str, Tensor]:
        """Place new items, of which there is an LLM embedding (n, L) only, in the semantic view."""
        if self.settings.views == "collaborative":
            return {}
        beside = self.view.collaborative.weight.shape[1] if self.settings.views == "both" else 0
        return {"semantic": pad(self.view.adapter(texts), (0, beside))}

    def start_epoch(self, overview: Overview) -> None:
        """Prepare the teachers."""
        self._encode_alone = overview.encode_alone
        if self.settings.mediator_refresh == "epoch" and self.settings.alpha > 0:
            self._bank = overview.encode_users(torch.arange(len(self.neighbours), device=self.neighbours.device))

    def mediators(self, users: Tensor) -> Tensor:
        """Return T_u, the mean of the N similar users' [u_se : u_co], without gradient: (b, 2D) (Eq. 8)."""
        if self.settings.mediator_refresh == "epoch":
            return self._bank[self.neighbours[users]].mean(1)
        teachers, place = self.neighbours[users].unique(return_inverse=True)
        return self._encode_alone(teachers)[place].mean(1)

    def extra_loss(self, batch: Batch, states: Tensor) -> Tensor | None:
        """Self-distillation α · L_SD, the squared distance of [u_se : u_co] to its mediator (Eq. 9).

        As in the authors' code the square is averaged over the 2D coordinates, which is what α = 0.1 was tuned for.

        Args:
            batch: names the users and where their own representations are.
            states: (N, 2D).
        """
        if self.settings.alpha == 0:
            return None
        return self.settings.alpha * (self.mediators(batch.represented) - states[batch.last]).square().mean()

    def finish(self, overview: Overview) -> None:
        """Do nothing."""


def build(settings: LlmEsr, given: Ingredients) -> LLMESR:
    """Build LLM-ESR on the frozen LLM embeddings, their PCA and the similar users."""
    causal = settings.fusion_causal and given.backbone.objective != "cloze"  # a cloze is filled from both sides
    view = DualView(given.semantic, given.initial, settings, causal=causal)
    return LLMESR(given.backbone, view, given.neighbours, settings)
