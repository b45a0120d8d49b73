"""Multi-head attention over ragged sequences, on PyTorch's fused kernel."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmesr.models.dropout import Dropout
from llmesr.models.ragged import Group, Ragged


@dataclass(frozen=True)
class Padding:
    """Zero vectors that fill a sequence up to T positions and are attended to like items.

    All of them have the same key and value, the projections' biases. So one key stands for them, its weight times
    their number: a *sink* that takes the more attention the shorter the sequence is.

    Attributes:
        key: (D,) of a zero vector.
        value: (D,) of a zero vector.
        length: T.
    """

    key: Tensor
    value: Tensor
    length: int

    def behind(self, x: Tensor, what: Tensor) -> Tensor:
        """Append the zero vector's key or value `what` to x (b, views · heads, T, d), as one more position."""
        parts = what.view(-1, x.shape[-1]).repeat(x.shape[1] * x.shape[-1] // len(what), 1)  # the same for each view
        return torch.cat([x, parts[:, None].expand(len(x), -1, 1, -1)], 2)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    sequences: Ragged,
    causal: bool,
    dropout: Dropout | None = None,
    padding: Padding | None = None,
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
        padding: what fills up a sequence, if that is attended to.

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
        if padding is not None:
            keys, values = padding.behind(keys, padding.key), padding.behind(values, padding.value)
        if drops:
            out = dropout(_weights(queries, keys, group, causal, padding)) @ values
        elif causal and padding is None:
            # a rectangle's own filling, being on the right, is never seen by a real position
            out = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        else:
            out = F.scaled_dot_product_attention(queries, keys, values, _mask(group, causal, padding))
        mixed.append(out.transpose(1, 2).reshape(b * T, -1))
    return F.embedding(sequences.place, torch.cat(mixed)).view_as(q)


def attention_map(q: Tensor, k: Tensor, heads: int, sequences: Ragged, causal: bool) -> list[Tensor]:
    """Return the weights that `attend` uses, to look at: a group's (b, heads, T, T) each, rows sum to 1."""
    maps = []
    for group in sequences.groups:
        queries, keys = (F.embedding(group.index, x).unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k))
        maps.append(_weights(queries, keys, group, causal))
    return maps


def _weights(queries: Tensor, keys: Tensor, group: Group, causal: bool, padding: Padding | None = None) -> Tensor:
    logits = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    return (logits + _mask(group, causal, padding)).softmax(-1)


def _mask(group: Group, causal: bool, padding: Padding | None) -> Tensor:
    """What is added to the logits: 0 where a position is seen, -∞ where not, (b, 1, T or 1, T).

    One more column, if padding is attended to, holds the logarithm of how many zero vectors there are.
    """
    T = group.index.shape[1]
    seen = group.real[:, None, None, :]
    if causal:
        seen = seen & torch.ones(T, T, dtype=torch.bool, device=seen.device).tril()
    mask = torch.zeros(seen.shape, device=seen.device).masked_fill(~seen, float("-inf"))
    if padding is None:
        return mask
    filled = (padding.length - group.real.sum(1)).clamp(min=0).float().log()
    return torch.cat([mask, filled[:, None, None, None].expand(*mask.shape[:-1], 1)], -1)


class SelfAttention(nn.Module):
    """Self-attention with query, key, value and output projections."""

    def __init__(self, hidden: int, heads: int, dropout: float, padded_to: int | None) -> None:
        super().__init__()
        self.heads, self.dropout, self.padded_to = heads, Dropout(dropout), padded_to
        self.query = nn.Linear(hidden, hidden)
        self.key_value = nn.Linear(hidden, 2 * hidden)
        self.out = nn.Linear(hidden, hidden)

    def forward(self, q: Tensor, x: Tensor, sequences: Ragged, causal: bool) -> Tensor:
        """Attend from q to x, both (N, …, D); return (N, …, D)."""
        k, v = self.key_value(x).chunk(2, -1)
        padding = None if self.padded_to is None else Padding(*self.key_value.bias.chunk(2), self.padded_to)
        return self.out(attend(self.query(q), k, v, self.heads, sequences, causal, self.dropout, padding))
