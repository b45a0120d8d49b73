"""LLM-ESR on SASRec, written as the paper's equations read: what our model is compared with.

Rectangles of B × T with zeros on the left; the adapter meets every position, layer by layer; attention is a softmax
over T × T; similar users are encoded anew for every user in every step. Nothing is shared, gathered or skipped.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from llmesr.models.methods.llmesr import LLMESR
from llmesr.sequences import Sequences
from llmesr.settings import Settings
from torch import Tensor, nn


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, seen: Tensor) -> Tensor:
    """Compute softmax(q kᵀ / √d) v of (B, T, D) where `seen`, which broadcasts to (B, heads, T, T), is true."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # (B, h, T, d)
    logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5  # (B, h, T, T)
    # a finite number, since a row of padding may see nothing at all and would not be a number
    weights = logits.masked_fill(~seen, torch.finfo(logits.dtype).min).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


class CrossAttention(nn.Module):
    """Queries from one view, keys and values from the other (Eq. 4–5)."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(hidden, hidden, bias=False) for _ in range(3))
        self.out = nn.Linear(hidden, hidden)

    def forward(self, query_view: Tensor, view: Tensor, seen: Tensor) -> Tensor:
        """Re-weight `view` (B, T, D) by the queries of `query_view` (B, T, D)."""
        return self.out(attention(self.query(query_view), self.key(view), self.value(view), self.heads, seen))


class Block(nn.Module):
    """SASRec's block: the normed query is also the residual."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(hidden, hidden) for _ in range(4))
        self.norm_attention, self.norm_feed_forward = (nn.LayerNorm(hidden, eps=1e-8) for _ in range(2))
        self.inner, self.outer = (nn.Linear(hidden, hidden) for _ in range(2))

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Transform (B, T, D) to the same."""
        q = self.norm_attention(x)
        mixed = attention(self.query(q), self.key(x), self.value(x), self.heads, seen)
        x = self.norm_feed_forward(q + self.out(mixed))
        return x + self.outer(self.inner(x).relu())


class Reference(nn.Module):
    """The whole model without dropout, of the sizes that the settings name.

    Args:
        settings: of the model, SASRec and LLM-ESR.
        semantic: (V + 2, L) E_se, frozen.
        neighbours: (U, N) the similar users.
    """

    def __init__(self, settings: Settings, semantic: Tensor, neighbours: Tensor) -> None:
        super().__init__()
        own, sasrec, D, L = settings.methods.llmesr, settings.backbones.sasrec, settings.model.hidden, semantic.shape[1]
        self.own, self.causal, self.max_length = own, sasrec.causal, settings.data.max_length
        self.register_buffer("semantic", semantic, persistent=False)
        self.register_buffer("neighbours", neighbours, persistent=False)
        sizes = [L, D] if own.adapter_layers == 1 else [L, L // 2, D]
        self.adapter = nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(sizes)))
        self.collaborative = nn.Embedding(len(semantic), D, padding_idx=0)
        self.position = nn.Embedding(self.max_length, D)
        self.fuse_semantic, self.fuse_collaborative = (CrossAttention(D, own.fusion_heads) for _ in range(2))
        self.blocks = nn.ModuleList(Block(D, sasrec.heads) for _ in range(sasrec.blocks))
        self.norm = nn.LayerNorm(D, eps=1e-8)

    def views(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Look up e_se (Eq. 3) and e_co of items (B, T): (B, T, D) each."""
        return self.adapter(self.semantic[items]), self.collaborative(items)

    def place(self, view: Tensor, real: Tensor) -> Tensor:
        """Scale by √D, add positions, which count from the end: (B, T, D), zero where padded."""
        from_end = torch.arange(view.shape[1] - 1, -1, -1)
        return (view * view.shape[-1] ** 0.5 + self.position(from_end)) * real

    def encode(self, view: Tensor, real: Tensor) -> Tensor:
        """Read one view (B, T, D) with SASRec; padding is zero before every block, and seen if that is asked for."""
        T = view.shape[1]
        seen = torch.ones(1, 1, T, T, dtype=torch.bool)
        seen = seen.tril() if self.causal else seen
        if not self.own.attend_padding:
            seen = seen & real.view(-1, 1, 1, T)
        for block in self.blocks:
            view = block(view, seen) * real
        return self.norm(view)

    def states(self, items: Tensor) -> Tensor:
        """Encode items (B, T), 0 where padded, to [u_se : u_co] at every position: (B, T, 2D)."""
        real = (items > 0).unsqueeze(-1)
        se, co = (self.place(view, real) for view in self.views(items))
        seen = real.view(len(items), 1, 1, -1)
        fused_se, fused_co = self.fuse_semantic(co, se, seen) * real, self.fuse_collaborative(se, co, seen) * real
        return torch.cat([self.encode(fused_se, real), self.encode(fused_co, real)], -1)

    @torch.no_grad()
    def mediators(self, sequences: Sequences, users: Tensor) -> Tensor:
        """Encode the N similar users of each user and average them: T_u (B, 2D) (Eq. 8)."""
        similar = self.neighbours[users].flatten()  # (B · N,)
        last = self.states(self.rectangle(sequences.take(similar, self.max_length + 1).drop_last(least=1)))[:, -1]
        return last.view(len(users), -1, last.shape[-1]).mean(1)

    def loss(self, sequences: Sequences, users: Tensor, negatives: Tensor) -> Tensor:
        """Compute L = L_rank + α · L_SD (Eq. 7, 9, 10) of users (B,), with one negative a position: (B, T)."""
        inputs, targets = self.task(sequences, users)
        states = self.states(inputs)
        loss = states.new_zeros(())
        predicts = targets > 0
        for items, label in ((targets, 1.0), (negatives, 0.0)):
            scores = (states * torch.cat(self.views(items), -1)).sum(-1)  # (B, T) (Eq. 6)
            loss = loss + F.binary_cross_entropy_with_logits(scores[predicts], torch.full_like(scores, label)[predicts])
        return loss + self.own.alpha * (self.mediators(sequences, users) - states[:, -1]).square().mean()

    def task(self, sequences: Sequences, users: Tensor) -> tuple[Tensor, Tensor]:
        """Cut out inputs and, at each position, the item that follows, 0 where none does: (B, T) each."""
        whole = sequences.take(users, self.max_length + 1)
        inputs = self.rectangle(whole.drop_last(least=1))
        following = whole.take(torch.arange(len(users)), whole.lengths - 1)
        return inputs, self.rectangle(following, inputs.shape[1])

    def rectangle(self, sequences: Sequences, width: int | None = None) -> Tensor:
        """Fill up with zeros on the left: (B, T), or up to the longest of these if padding is not attended to."""
        longest = self.max_length if self.own.attend_padding else int(sequences.lengths.max())
        width = width or longest
        filled = torch.zeros(len(sequences), width, dtype=torch.int64)
        filled[sequences.row, width - 1 - sequences.from_end] = sequences.items
        return filled


RENAMED = {
    "backbone.positions.table.": "position.",
    "backbone.transformer.": "",
    ".attention.": ".",
    "adapter.layers.": "adapter.",
    ".feed_forward.0.": ".inner.",
    ".feed_forward.3.": ".outer.",
}
"""Parts of our weights' names, and what the reference has in their place."""


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give our weights, or their gradients, the reference's names."""
    found = {}
    for name, value in weights.items():
        for ours, theirs in RENAMED.items():
            name = name.replace(ours, theirs)
        found[name] = value
    return found


def reference_of(ours: LLMESR, settings: Settings) -> Reference:
    """Build the reference with the weights that our model has."""
    reference = Reference(settings, ours.semantic, ours.neighbours)
    reference.load_state_dict(renamed(ours.state_dict()))
    return reference
