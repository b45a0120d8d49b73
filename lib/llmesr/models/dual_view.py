"""Dual-view modelling (Sec. 3.2): a semantic and a collaborative view of items, fused by cross-attention."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmesr.models.attention import attend, attention_map
from llmesr.models.ragged import Ragged
from llmesr.settings import LlmEsr


class Adapter(nn.Module):
    """A: R^L → R^D, linear layers without activation between them (Eq. 3).

    Layers without activation are one affine map, so they are multiplied out before they meet the items: the
    gradients are those of the stack, the work per item is D × L instead of L²/2 + D × L/2.
    """

    def __init__(self, width: int, hidden: int, layers: int) -> None:
        super().__init__()
        sizes = [width, hidden] if layers == 1 else [width, width // 2, hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, L) to (…, D)."""
        first, *rest = self.layers
        weight, bias = first.weight, first.bias
        for layer in rest:
            weight, bias = layer.weight @ weight, layer.weight @ bias + layer.bias
        return F.linear(x, weight, bias)


class CrossAttention(nn.Module):
    """The projections of one cross-attention: queries from one view, keys and values from the other (Eq. 4–5)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.key = nn.Linear(hidden, hidden, bias=False)
        self.value = nn.Linear(hidden, hidden, bias=False)
        self.out = nn.Linear(hidden, hidden)

    def key_value(self, x: Tensor) -> Tensor:
        """Project x (N, D) to keys, then values (N, 2D)."""
        return F.linear(x, torch.cat([self.key.weight, self.value.weight]))


class DualView(nn.Module):
    """The two item tables and the two cross-attentions.

    Attributes:
        semantic: (V + 2, L) E_se, frozen: a buffer without gradient that is not saved with the weights.
        collaborative: (V + 2, D) E_co, trained, started at the PCA of E_se.
    """

    def __init__(self, semantic: Tensor, initial: Tensor, settings: LlmEsr, *, causal: bool) -> None:
        super().__init__()
        hidden = initial.shape[1]
        self.register_buffer("semantic", semantic, persistent=False)
        self.collaborative = nn.Embedding.from_pretrained(initial.clone(), freeze=False, padding_idx=0)
        if settings.initial == "random":
            nn.init.xavier_normal_(self.collaborative.weight)
            nn.init.zeros_(self.collaborative.weight[0])
        self.adapter = Adapter(semantic.shape[1], hidden, settings.adapter_layers)
        self.to_collaborative = CrossAttention(hidden)
        self.to_semantic = CrossAttention(hidden)
        self.settings, self.causal = settings, causal

    def views(self, items: Tensor) -> list[Tensor]:
        """Look up e_se and e_co of items (…), or the one of them that there is: (…, D) each."""
        found = []
        if self.settings.views != "collaborative":
            found.append(self.adapter(F.embedding(items, self.semantic)))
        if self.settings.views != "semantic":
            found.append(self.collaborative(items))
        return found

    def fuse(self, se: Tensor, co: Tensor, sequences: Ragged) -> Tensor:
        """Let each view be re-weighted by the other's queries (Eq. 4).

        What is asked, re-weighted, replaces the view: the semantic output is made of semantic values.

        Args:
            se: (N, D) semantic view, placed.
            co: (N, D) collaborative view, placed.
            sequences: which rows belong together.

        Returns:
            (N, 2, D): the semantic, then the collaborative view.
        """
        sides = ((self.to_semantic, co, se), (self.to_collaborative, se, co))
        q = torch.stack([side.query(asking) for side, asking, _ in sides], 1)  # (N, 2, D)
        key_value = torch.stack([side.key_value(asked) for side, _, asked in sides], 1)  # (N, 2, 2D)
        mixed = attend(q, key_value, self.settings.fusion_heads, sequences, self.causal)
        fused = torch.stack([side.out(mixed[:, i]) for i, (side, _, _) in enumerate(sides)], 1)
        return torch.stack([se, co], 1) + fused if self.settings.fusion_residual else fused

    def collaborative_map(self, se: Tensor, co: Tensor, sequences: Ragged) -> list[Tensor]:
        """Return the attention map of the collaborative side, to look at: (b, heads, T, T) a group."""
        side, heads = self.to_collaborative, self.settings.fusion_heads
        return attention_map(side.query(se), side.key(co), heads, sequences, self.causal)

    def item_vectors(self, items: Tensor) -> Tensor:
        """Return [e_se : e_co] of items (…): (…, 2D), or (…, D) of one view."""
        return torch.cat(self.views(items), -1)
