"""Dual-view modelling (Sec. 3.2): a semantic and a collaborative view of items, fused by cross-attention."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmesr.models.attention import attend, attention_weights
from llmesr.settings import LlmEsr


class Adapter(nn.Module):
    """A: R^L → R^D, linear layers without activation between them (Eq. 3).

    Layers without activation are one affine map, so they are multiplied out before they meet the items: the
    gradients are those of the stack, the work per item is D × L instead of L²/2 + D × L/2.
    """

    def __init__(self, width: int, hidden: int, layers: int) -> None:
        super().__init__()
        sizes = [width, hidden] if layers == 1 else [width, width // 2, hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, L) to (…, D)."""
        first, *rest = self.layers
        weight, bias = first.weight, first.bias
        for layer in rest:
            weight, bias = layer.weight @ weight, layer.weight @ bias + layer.bias
        return F.linear(x, weight, bias)


class CrossAttention(nn.Module):
    """Queries from one view, keys and values from the other (Eq. 4–5)."""

    def __init__(self, hidden: int, settings: LlmEsr) -> None:
        super().__init__()
        self.heads, self.causal, self.residual = settings.fusion_heads, settings.fusion_causal, settings.fusion_residual
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.key = nn.Linear(hidden, hidden, bias=False)
        self.value = nn.Linear(hidden, hidden, bias=False)
        self.out = nn.Linear(hidden, hidden)

    def forward(self, asking: Tensor, asked: Tensor, real: Tensor) -> Tensor:
        """Attend from `asking` to `asked`, both (B, T, D); what was asked, re-weighted, replaces it: (B, T, D)."""
        q, k, v = self.query(asking), self.key(asked), self.value(asked)
        fused = self.out(attend(q, k, v, self.heads, real, self.causal))
        return asked + fused if self.residual else fused

    def weights(self, asking: Tensor, asked: Tensor, real: Tensor) -> Tensor:
        """Return the attention map (B, heads, T, T), to look at."""
        return attention_weights(self.query(asking), self.key(asked), self.heads, real, self.causal)


class DualView(nn.Module):
    """The two item tables and the two cross-attentions.

    Attributes:
        semantic: (V + 2, L) E_se, frozen: a buffer without gradient that is not saved with the weights.
        collaborative: (V + 2, D) E_co, trained, started at the PCA of E_se.
    """

    def __init__(self, semantic: Tensor, initial: Tensor, settings: LlmEsr) -> None:
        super().__init__()
        hidden = initial.shape[1]
        self.register_buffer("semantic", semantic, persistent=False)
        self.collaborative = nn.Embedding.from_pretrained(initial.clone(), freeze=False, padding_idx=0)
        self.adapter = Adapter(semantic.shape[1], hidden, settings.adapter_layers)
        self.to_collaborative = CrossAttention(hidden, settings)
        self.to_semantic = CrossAttention(hidden, settings)

    def views(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Look up e_se and e_co of items (…): two tensors (…, D)."""
        return self.adapter(F.embedding(items, self.semantic)), self.collaborative(items)

    def fuse(self, se: Tensor, co: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Let each view be re-weighted by the other's queries (Eq. 4): two tensors (B, T, D)."""
        return self.to_semantic(co, se, real), self.to_collaborative(se, co, real)

    def item_vectors(self, items: Tensor) -> Tensor:
        """Return [e_se : e_co] of items (…): (…, 2D)."""
        return torch.cat(self.views(items), -1)
