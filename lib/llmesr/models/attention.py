"""Multi-head attention over right-padded sequences, on PyTorch's fused kernel."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def heads_of(x: Tensor, heads: int) -> Tensor:
    """Split (B, T, D) into (B, heads, T, D / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, real: Tensor, causal: bool, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention: softmax(q kᵀ / √d) v, padding never attended to.

    Padding lies on the right, so under the causal mask no real position can see it and the mask of keys is
    not needed; without the causal mask it is.

    Args:
        q: (B, T, D) queries.
        k: (B, T, D) keys.
        v: (B, T, D) values.
        heads: number of heads; divides D.
        real: (B, T) true where there is an item; each row has at least one.
        causal: position t attends to positions ≤ t only.
        dropout: share of attention weights dropped.

    Returns:
        (B, T, D); rows at padding are meaningless.
    """
    mask = None if causal else real[:, None, None, :].expand(-1, 1, q.shape[1], -1)
    mixed = F.scaled_dot_product_attention(
        heads_of(q, heads), heads_of(k, heads), heads_of(v, heads), mask, dropout, is_causal=causal
    )
    return mixed.transpose(1, 2).flatten(2)


def attention_weights(q: Tensor, k: Tensor, heads: int, real: Tensor, causal: bool) -> Tensor:
    """Return the weights that `attend` uses, to look at: (B, heads, T, T), rows sum to 1."""
    logits = heads_of(q, heads) @ heads_of(k, heads).transpose(-1, -2) / (q.shape[-1] // heads) ** 0.5
    hidden = ~real[:, None, None, :]
    if causal:
        hidden = hidden | torch.ones_like(logits[0, 0], dtype=torch.bool).triu(1)
    return logits.masked_fill(hidden, float("-inf")).softmax(-1)


class SelfAttention(nn.Module):
    """Self-attention with query, key, value and output projections."""

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(hidden, hidden)
        self.key_value = nn.Linear(hidden, 2 * hidden)
        self.out = nn.Linear(hidden, hidden)

    def forward(self, q: Tensor, x: Tensor, real: Tensor, causal: bool) -> Tensor:
        """Attend from q to x, both (B, T, D); return (B, T, D)."""
        k, v = self.key_value(x).chunk(2, -1)
        dropout = self.dropout if self.training else 0.0
        return self.out(attend(self.query(q), k, v, self.heads, real, causal, dropout))
