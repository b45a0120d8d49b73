"""Scaled dot-product attention within each of B sequences (Vaswani et al., 2017)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmesr.errors import InputError
from llmesr.models.dropout import Dropout
from llmesr.sequences import Group, Sequences


@dataclass(frozen=True)
class ZeroPadding:
    """Zero vectors that fill a sequence up to T positions and are attended to like items, as in LLM-ESR's code.

    All of them have the same key and the same value, the biases of the two projections. So one key stands for all: its
    weight is multiplied by their number. It takes the more attention the shorter the sequence is.

    Attributes:
        key: (D,) of a zero vector.
        value: (D,) of a zero vector.
        length: T.
    """

    key: Tensor
    value: Tensor
    length: int


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sequences: Sequences,
    heads: int,
    *,
    causal: bool,
    dropout: Dropout | None = None,
    padding: ZeroPadding | None = None,
) -> Tensor:
    """Compute softmax(QKᵀ / √d) V within each sequence.

    Args:
        q: (N, D) queries.
        k: (N, D) keys.
        v: (N, D) values.
        sequences: which of the N rows belong together.
        heads: H; divides D, d = D / H.
        causal: a position attends to earlier ones and itself only.
        dropout: of the attention weights, in training.
        padding: what fills a sequence up, if that is attended to.

    Returns:
        (N, D).
    """
    rectangles, qkv = [], torch.cat([q, k, v], -1)  # (N, 3D)
    for group in sequences.groups:
        Q, K, V = (split_heads(x, heads) for x in group.pad(qkv).chunk(3, -1))  # (b, H, T, d) each
        mask = group.causal_mask if causal else group.mask  # (b, 1, T or 1, T)
        if padding is not None:
            K, V, mask = _append_zeros(K, V, mask, group, padding)  # T + 1 keys
        if dropout is not None and dropout.training and dropout.p > 0:
            mixed = dropout(attention_weights(Q, K, mask)) @ V  # (b, H, T, d)
        else:
            mixed = F.scaled_dot_product_attention(Q, K, V, mask.to(Q.dtype))  # the same without dropout, in one kernel
        rectangles.append(mixed.transpose(1, 2).flatten(2))  # (b, T, D)
    return sequences.unpad(rectangles)


def attention_weights(Q: Tensor, K: Tensor, mask: Tensor) -> Tensor:
    """Compute softmax(QKᵀ / √d + mask): (b, H, T, T), rows sum to 1."""
    return torch.add(mask, Q @ K.transpose(-1, -2), alpha=Q.shape[-1] ** -0.5).softmax(-1)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Cut vectors into heads: (b, T, D) to (b, H, T, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _append_zeros(
    K: Tensor, V: Tensor, mask: Tensor, group: Group, padding: ZeroPadding
) -> tuple[Tensor, Tensor, Tensor]:
    """Append the one key that stands for the zero vectors; adding the log of a number multiplies a weight by it."""
    b, heads, _, d = K.shape
    zero_key, zero_value = (x.view(1, heads, 1, d).expand(b, -1, -1, -1) for x in (padding.key, padding.value))
    count = (padding.length - group.real.sum(1)).clamp(min=0).float()  # (b,)
    column = count.log()[:, None, None, None].expand(*mask.shape[:-1], 1)
    return torch.cat([K, zero_key], 2), torch.cat([V, zero_value], 2), torch.cat([mask, column], -1)


class SelfAttention(nn.Module):
    """Multi-head attention with projections of query, key, value and output.

    Args:
        hidden: D.
        heads: H.
        dropout: of the attention weights.
        zeros_up_to: T if zero vectors up to that length are attended to; None if padding is not seen at all.
    """

    def __init__(self, hidden: int, heads: int, dropout: float, zeros_up_to: int | None = None) -> None:
        super().__init__()
        self.heads, self.dropout, self.zeros_up_to = heads, Dropout(dropout), zeros_up_to
        self.query, self.key, self.value, self.out = (nn.Linear(hidden, hidden) for _ in range(4))

    def forward(self, query: Tensor, x: Tensor, sequences: Sequences, *, causal: bool) -> Tensor:
        """Attend from `query` (N, D) to x (N, D): (N, D)."""
        padding = self.zeros_up_to and ZeroPadding(self.key.bias, self.value.bias, self.zeros_up_to)
        q, k, v = self.query(query), self.key(x), self.value(x)  # (N, D) each
        return self.out(
            attend(q, k, v, sequences, self.heads, causal=causal, dropout=self.dropout, padding=padding or None)
        )


def check_heads(key: str, heads: int, hidden: int) -> None:
    """Check that heads divide the hidden size.

    Raises:
        InputError: they do not.
    """
    if hidden % heads:
        raise InputError(f"key '{key}' is {heads}, which does not divide 'model.hidden' ({hidden})")
