"""LLM-ESR (Liu et al., NeurIPS 2024): dual-view modelling and retrieval-augmented self-distillation.

1. Every item has a semantic view, its frozen LLM embedding through an adapter, and a collaborative view, a trained
   vector (Sec. 3.2). 2. Two cross-attentions fuse the views of a sequence. 3. One shared backbone encodes both views;
   the score adds them up. 4. The mean of similar users' representations teaches the user's own (Sec. 3.3).
"""

import copy
from itertools import pairwise
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from llmesr.models.attention import attend, check_heads
from llmesr.models.backbones.base import Backbone
from llmesr.models.base import Batch, EncodeUsers, Method, TrainContext
from llmesr.models.inputs import ModelInputs, random_table
from llmesr.section import Positive, Section, Weight
from llmesr.sequences import Sequences


class Adapter(nn.Module):
    """A: R^L → R^D, linear layers without activation between them (Eq. 3).

    Layers without activation are one affine map, so they are multiplied out before they meet the items: the gradients
    are those of the stack, the work per item is D × L instead of L²/2 + D × L/2.
    """

    def __init__(self, width: int, hidden: int, layers: int) -> None:
        super().__init__()
        sizes = [width, hidden] if layers == 1 else [width, width // 2, hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """Map LLM embeddings (…, L) to (…, D)."""
        first, *rest = self.layers
        weight, bias = first.weight, first.bias
        for layer in rest:
            weight, bias = layer.weight @ weight, layer.weight @ bias + layer.bias
        return F.linear(x, weight, bias)


class CrossAttention(nn.Module):
    """Queries from one view, keys and values from the other (Eq. 4–5): no residual, as in the authors' code."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(hidden, hidden, bias=False) for _ in range(3))
        self.out = nn.Linear(hidden, hidden)

    def forward(self, query_view: Tensor, view: Tensor, sequences: Sequences, *, causal: bool) -> Tensor:
        """Re-weight `view` (N, D) by the queries of `query_view` (N, D): (N, D)."""
        q, k, v = self.query(query_view), self.key(view), self.value(view)  # (N, D) each
        return self.out(attend(q, k, v, sequences, self.heads, causal=causal))


class LLMESR(Method):
    """Two views of each item, one shared backbone that encodes both, similar users as neighbours."""

    name = "llmesr"
    title = "LLM-ESR"

    class Settings(Section):
        """LLM-ESR's own settings; all but `alpha` and `mediator_refresh` default to the authors' code."""

        alpha: Weight = 0.05
        """Weight of the self-distillation (paper: 0.1, searched over 1, 0.5, 0.1, 0.05, 0.01)."""
        views: Literal["both", "semantic", "collaborative"] = "both"
        """The views that there are (paper: both)."""
        shared_encoder: bool = True
        """One backbone encodes both views (paper: true)."""
        initial: Literal["pca", "random"] = "pca"
        """The collaborative table's first value (paper: pca)."""
        adapter_layers: Annotated[int, Field(ge=1, le=2)] = 2
        """Linear layers from L to D (paper: 2)."""
        fusion: bool = True
        """The views are fused by cross-attention (paper: true)."""
        fusion_heads: Positive = 2
        """Heads of the cross-attentions; must divide `model.hidden` (authors' code: 2)."""
        fusion_causal: bool = False
        """Position t attends to no later item in the cross-attention (paper: false)."""
        fusion_residual: bool = False
        """Add the view to what it attended to (authors' code: false)."""
        attend_padding: bool = True
        """Zero vectors up to T take part in self-attention (authors' code: true, for every method)."""
        mediator_refresh: Literal["epoch", "step"] = "epoch"
        """When neighbours are encoded: all once an epoch, or those of a batch anew each step (authors' code: step)."""

    def __init__(self, settings: "LLMESR.Settings", inputs: ModelInputs, backbone: Backbone) -> None:
        super().__init__(settings, inputs, backbone)
        check_heads("methods.llmesr.fusion_heads", settings.fusion_heads, inputs.hidden)
        L, D = inputs.item_embeddings.shape[1], inputs.hidden
        self.register_buffer("semantic", inputs.semantic_table, persistent=False)  # E_se (V + 2, L), frozen
        self.collaborative = nn.Embedding.from_pretrained(inputs.pca_table.clone(), freeze=False, padding_idx=0)
        if settings.initial == "random":
            self.collaborative = random_table(inputs.n_items, D)  # E_co (V + 2, D), trained
        self.adapter = Adapter(L, D, settings.adapter_layers)
        self.fuse_semantic = CrossAttention(D, settings.fusion_heads)
        self.fuse_collaborative = CrossAttention(D, settings.fusion_heads)
        separate = settings.views == "both" and not settings.shared_encoder
        self.semantic_backbone = copy.deepcopy(backbone) if separate else None
        self.register_buffer("neighbours", torch.from_numpy(inputs.neighbours), persistent=False)  # (U, N)
        self._encode_users: EncodeUsers | None = None
        self._all_users: Tensor | None = None  # (U, 2D) states of all users, kept for the epoch

    @classmethod
    def attends_padding(cls, settings: "LLMESR.Settings") -> bool:
        """Whether self-attention sees the zero vectors that fill a sequence up to T."""
        return settings.attend_padding

    # --- dual view (Sec. 3.2) ---

    def item_vectors(self, items: Tensor) -> Tensor:
        """Return [e_se : e_co] of items (…): (…, 2D), or (…, D) of one view (Eq. 3)."""
        e_se = () if self.settings.views == "collaborative" else (self.adapter(F.embedding(items, self.semantic)),)
        e_co = () if self.settings.views == "semantic" else (self.collaborative(items),)
        return torch.cat([*e_se, *e_co], -1)

    def states(self, sequences: Sequences, vectors: Tensor) -> Tensor:
        """Encode the [e_se : e_co] (N, 2D) of sequences to [u_se : u_co] (N, 2D), or (N, D) of one view."""
        if self.settings.views != "both":
            return super().states(sequences, vectors)
        e_se, e_co = vectors.chunk(2, -1)  # (N, D) each
        se = (self.semantic_backbone or self.backbone).place(e_se, sequences)  # (N, D)
        co = self.backbone.place(e_co, sequences)  # (N, D)
        if self.settings.fusion:
            se, co = self.fuse(se, co, sequences)
        if self.semantic_backbone is not None:
            u_se, u_co = self.semantic_backbone.encode(se, sequences), self.backbone.encode(co, sequences)
        else:  # one backbone for both: a batch of twice as many sequences
            both = self.backbone.encode(torch.cat([se, co]), sequences.join(sequences))  # (2N, D)
            u_se, u_co = both.chunk(2)
        return torch.cat([u_se, u_co], -1)

    def fuse(self, se: Tensor, co: Tensor, sequences: Sequences) -> tuple[Tensor, Tensor]:
        """Let each view be re-weighted by the other's queries (Eq. 4): (N, D) each.

        What attention returns replaces the view: the semantic output is made of semantic values.
        """
        # a cloze is filled from both sides, whatever the switch says
        causal = self.settings.fusion_causal and self.backbone.objective != "cloze"
        fused_se = self.fuse_semantic(co, se, sequences, causal=causal)
        fused_co = self.fuse_collaborative(se, co, sequences, causal=causal)
        return (se + fused_se, co + fused_co) if self.settings.fusion_residual else (fused_se, fused_co)

    # The score is the inner product: P(v | S_u) = [e_se : e_co]ᵀ [u_se : u_co] (Eq. 6).

    # --- retrieval-augmented self-distillation (Sec. 3.3) ---

    def on_epoch_start(self, context: TrainContext) -> None:
        """Encode all users, who are each other's neighbours."""
        self._encode_users = context.encode_users
        if self.settings.mediator_refresh == "epoch" and self.settings.alpha > 0:
            self._all_users = context.encode_users(torch.arange(len(self.neighbours), device=self.neighbours.device))

    def mediators(self, users: Tensor) -> Tensor:
        """Return T_u, the mean of the N similar users' [u_se : u_co], without gradient: (b, 2D) (Eq. 8)."""
        if self.settings.mediator_refresh == "epoch":
            return self._all_users[self.neighbours[users]].mean(1)  # (b, N, 2D) to (b, 2D)
        similar, place = self.neighbours[users].unique(return_inverse=True)
        return self._encode_users(similar, shard=False)[place].mean(1)

    def extra_loss(self, batch: Batch, states: Tensor) -> Tensor | None:
        """Return α · L_SD, the squared distance of [u_se : u_co] to its mediator (Eq. 9).

        As in the authors' code the square is averaged over the 2D coordinates, which is what α = 0.1 was tuned for.
        """
        if self.settings.alpha == 0:
            return None
        return self.settings.alpha * F.mse_loss(states[batch.last], self.mediators(batch.represented))

    # --- recommending ---

    def views(self, items: Tensor) -> dict[str, Tensor]:
        """Take the vectors of items apart: [e_se : 0] and [0 : e_co], (…, 2D) each."""
        vectors = self.item_vectors(items)
        if self.settings.views != "both":
            return {self.settings.views: vectors}
        e_se, e_co = vectors.chunk(2, -1)
        zeros = torch.zeros_like(e_se)
        return {"semantic": torch.cat([e_se, zeros], -1), "collaborative": torch.cat([zeros, e_co], -1)}

    def from_text(self, embeddings: Tensor) -> dict[str, Tensor]:
        """Place new items, of which there is an LLM embedding (n, L) only, in the semantic view."""
        if self.settings.views == "collaborative":
            return {}
        beside = self.collaborative.weight.shape[1] if self.settings.views == "both" else 0
        return {"semantic": F.pad(self.adapter(embeddings), (0, beside))}
