"""LiGR layers (arXiv 2502.03417), which eSASRec (RecSys 2025, arXiv 2508.06450) puts in the place of SASRec's.

Each part of a block reads a normed copy, and a learned gate says how much of its result is added to what came in.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from llmesr.models.attention import SelfAttention
from llmesr.models.dropout import Dropout
from llmesr.sequences import Sequences

EXPANSION = 4
"""Width of the feed-forward network, in D (eSASRec: 4 on most datasets)."""


class SwiGLU(nn.Module):
    """Feed-forward network whose hidden units are gated by SiLU: D → 4D → D, without biases."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.gate, self.up = (nn.Linear(hidden, EXPANSION * hidden, bias=False) for _ in range(2))
        self.down, self.dropout = nn.Linear(EXPANSION * hidden, hidden, bias=False), Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Transform x: (N, D) to (N, D)."""
        return self.down(self.dropout(F.silu(self.gate(x)) * self.up(x)))


class LiGRBlock(nn.Module):
    """x + σ(W x + b) ⊙ attention(norm(x)), and the same again with the feed-forward network."""

    def __init__(self, hidden: int, heads: int, dropout: float, zeros_up_to: int | None) -> None:
        super().__init__()
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.attention = SelfAttention(hidden, heads, dropout, zeros_up_to)
        self.feed_forward = SwiGLU(hidden, dropout)
        self.gate_attention, self.gate_feed_forward = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, sequences: Sequences, *, causal: bool) -> Tensor:
        """Transform x: (N, D) to (N, D)."""
        normed = self.norm_attention(x)
        attended = self.dropout(self.attention(normed, normed, sequences, causal=causal))
        x = x + self.gate_attention(x).sigmoid() * attended
        fed_forward = self.dropout(self.feed_forward(self.norm_feed_forward(x)))
        return x + self.gate_feed_forward(x).sigmoid() * fed_forward


class LiGR(nn.Module):
    """A stack of LiGR blocks; no norm follows the last one."""

    def __init__(self, blocks: int, hidden: int, heads: int, dropout: float, zeros_up_to: int | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(LiGRBlock(hidden, heads, dropout, zeros_up_to) for _ in range(blocks))

    def forward(self, x: Tensor, sequences: Sequences, *, causal: bool) -> Tensor:
        """Transform x: (N, D) to states (N, D)."""
        for block in self.blocks:
            x = block(x, sequences, causal=causal)
        return x
