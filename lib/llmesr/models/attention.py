"""Multi-head attention over ragged sequences; without dropout of weights on PyTorch's fused kernel."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmesr.models.dropout import Dropout
from llmesr.models.layout import layout_of
from llmesr.models.ragged import Ragged


@dataclass(frozen=True)
class Padding:
    """Zero vectors that fill a sequence up to T positions and are attended to like items.

    All of them have the same key and value, the projections' biases. So one key stands for them, its weight times
    their number: a *sink* that takes the more attention the shorter the sequence is.

    Attributes:
        key_value: (2D,) key and value of a zero vector.
        length: T.
    """

    key_value: Tensor
    length: int


def attend(
    q: Tensor,
    key_value: Tensor,
    heads: int,
    sequences: Ragged,
    causal: bool,
    dropout: Dropout | None = None,
    padding: Padding | None = None,
    *,
    last_only: bool = False,
) -> Tensor:
    """Scaled dot-product attention softmax(q kᵀ / √d) v within each sequence.

    Args:
        q: (N, …, D) queries; views between N and D are attended to separately, as further heads.
        key_value: (N, …, 2D) keys, then values.
        heads: number of heads; divides D.
        sequences: which of the N rows belong together.
        causal: a position attends to earlier ones and itself only.
        dropout: of attention weights, in training.
        padding: what fills up a sequence, if that is attended to.
        last_only: only the last position of each of the B sequences asks: q is (B, …, D).

    Returns:
        like q.
    """
    d = q.shape[-1] // heads
    layout = layout_of(sequences, q[0].numel() // q.shape[-1], heads, causal, padding and padding.length, last_only)
    cells = key_value.reshape(-1, d)
    if padding is not None:
        cells = torch.cat([cells, padding.key_value.view(-1, d)])
    # pieces lie as the products want them, so that these need no copy
    asked = layout.queries(q.reshape(-1, d)).split(layout.query_cells)
    answers = layout.keys_values(cells).split(layout.key_value_cells)
    mixed = [
        _mix(queries.view(b, h, -1, d), pairs.view(2, b, h, -1, d), mask, dropout)
        for queries, pairs, mask, (b, h) in zip(asked, answers, layout.masks, layout.shapes, strict=True)
    ]
    return layout.answers(torch.cat([out.reshape(-1, d) for out in mixed])).view_as(q)


def _mix(queries: Tensor, keys_values: Tensor, mask: Tensor, dropout: Dropout | None) -> Tensor:
    """Attend within a rectangle: (b, h, T, d)."""
    keys, values = keys_values
    if dropout is not None and dropout.training and dropout.p > 0:
        return dropout(_weights(queries, keys, mask)) @ values
    return F.scaled_dot_product_attention(queries, keys, values, mask)


def _weights(queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
    return torch.add(mask, queries @ keys.transpose(-1, -2), alpha=queries.shape[-1] ** -0.5).softmax(-1)


def attention_map(q: Tensor, k: Tensor, heads: int, sequences: Ragged, causal: bool) -> list[Tensor]:
    """Return the weights that `attend` uses, to look at: a group's (b, heads, T, T) each, rows sum to 1."""
    masks = layout_of(sequences, 1, heads, causal, None, False).masks
    maps = []
    for group, mask in zip(sequences.groups, masks, strict=True):
        queries, keys = (F.embedding(group.index, x).unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k))
        maps.append(_weights(queries, keys, mask))
    return maps


class SelfAttention(nn.Module):
    """Self-attention with query, key, value and output projections."""

    def __init__(self, hidden: int, heads: int, dropout: float, padded_to: int | None) -> None:
        super().__init__()
        self.heads, self.dropout, self.padded_to = heads, Dropout(dropout), padded_to
        self.query = nn.Linear(hidden, hidden)
        self.key_value = nn.Linear(hidden, 2 * hidden)
        self.out = nn.Linear(hidden, hidden)

    def forward(self, q: Tensor, x: Tensor, sequences: Ragged, causal: bool, *, last_only: bool = False) -> Tensor:
        """Attend from q (N, …, D), or (B, …, D) of the last positions alone, to x (N, …, D); return like q."""
        padding = None if self.padded_to is None else Padding(self.key_value.bias, self.padded_to)
        options = {"dropout": self.dropout, "padding": padding, "last_only": last_only}
        return self.out(attend(self.query(q), self.key_value(x), self.heads, sequences, causal, **options))
