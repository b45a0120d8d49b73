"""Multi-head attention over ragged sequences, on PyTorch's fused kernel."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmesr.models.dropout import Dropout
from llmesr.models.ragged import Group, Ragged


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    sequences: Ragged,
    causal: bool,
    dropout: Dropout | None = None,
) -> Tensor:
    """Scaled dot-product attention softmax(q kᵀ / √d) v within each sequence.

    Args:
        q: (N, …, D) queries; views between N and D are attended to separately, as further heads.
        k: (N, …, D) keys.
        v: (N, …, D) values.
        heads: number of heads; divides D.
        sequences: which of the N rows belong together.
        causal: a position attends to earlier ones and itself only.
        dropout: of attention weights, in training.

    Returns:
        (N, …, D).
    """
    # (N, 3, views · heads · d); rows are gathered with `embedding`, whose gradient is fast and deterministic
    stacked = torch.stack([part.flatten(1) for part in (q, k, v)], 1).flatten(1)
    drops = dropout is not None and dropout.training and dropout.p > 0
    rectangles = F.embedding(sequences.gather, stacked).split([group.index.numel() for group in sequences.groups])
    mixed = []
    for group, cells in zip(sequences.groups, rectangles, strict=True):
        b, T = group.index.shape
        padded = cells.view(b, T, 3, -1, q.shape[-1] // heads)
        queries, keys, values = padded.permute(2, 0, 3, 1, 4)  # (b, views · heads, T, d) each
        if drops:
            weights = dropout(_weights(queries, keys, group, causal))
            out = weights @ values
        else:
            # under the causal mask padding, being on the right, is never seen by a real position
            mask = None if causal else group.real[:, None, None, :]
            out = F.scaled_dot_product_attention(queries, keys, values, mask, is_causal=causal)
        mixed.append(out.transpose(1, 2).reshape(b * T, -1))
    return F.embedding(sequences.place, torch.cat(mixed)).view_as(q)


def attention_map(q: Tensor, k: Tensor, heads: int, sequences: Ragged, causal: bool) -> list[Tensor]:
    """Return the weights that `attend` uses, to look at: a group's (b, heads, T, T) each, rows sum to 1."""
    maps = []
    for group in sequences.groups:
        queries, keys = (F.embedding(group.index, x).unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k))
        maps.append(_weights(queries, keys, group, causal))
    return maps


def _weights(queries: Tensor, keys: Tensor, group: Group, causal: bool) -> Tensor:
    logits = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    hidden = ~group.real[:, None, None, :]
    if causal:
        hidden = hidden | torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).triu(1)
    return logits.masked_fill(hidden, float("-inf")).softmax(-1)


class SelfAttention(nn.Module):
    """Self-attention with query, key, value and output projections."""

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, Dropout(dropout)
        self.query = nn.Linear(hidden, hidden)
        self.key_value = nn.Linear(hidden, 2 * hidden)
        self.out = nn.Linear(hidden, hidden)

    def forward(self, q: Tensor, x: Tensor, sequences: Ragged, causal: bool) -> Tensor:
        """Attend from q to x, both (N, …, D); return (N, …, D)."""
        k, v = self.key_value(x).chunk(2, -1)
        return self.out(attend(self.query(q), k, v, self.heads, sequences, causal, self.dropout))
