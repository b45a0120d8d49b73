"""The Transformer block and the learned positions that SASRec and BERT4Rec share."""

import torch
from torch import Tensor, nn

from llmesr.models.attention import SelfAttention


class Positions(nn.Module):
    """Scale item vectors by √D and add learned positions, counted back from the latest item.

    Counting from the end gives an item the same position however much its batch is padded.
    """

    def __init__(self, hidden: int, max_length: int, dropout: float) -> None:
        super().__init__()
        self.table = nn.Embedding(max_length, hidden)
        nn.init.xavier_normal_(self.table.weight)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """Place x (B, T, D), whose real items are marked in (B, T)."""
        steps = torch.arange(x.shape[1], device=x.device)
        position = (real.sum(1, keepdim=True) - 1 - steps).clamp(min=0)  # (B, T)
        return self.dropout(x * x.shape[-1] ** 0.5 + self.table(position))


class Block(nn.Module):
    """One block as in SASRec's code: the normed query is also the residual; feed-forward of width D with ReLU."""

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(hidden, eps=1e-8)
        self.attention = SelfAttention(hidden, heads, dropout)
        self.norm_feed_forward = nn.LayerNorm(hidden, eps=1e-8)
        self.feed_forward = nn.Sequential(
            nn.Linear(hidden, hidden), nn.Dropout(dropout), nn.ReLU(), nn.Linear(hidden, hidden), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor, real: Tensor, causal: bool) -> Tensor:
        """Transform (B, T, D)."""
        q = self.norm_attention(x)
        x = self.norm_feed_forward(q + self.attention(q, x, real, causal))
        return x + self.feed_forward(x)


class Blocks(nn.Module):
    """A stack of blocks and a last norm."""

    def __init__(self, blocks: int, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(hidden, heads, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(hidden, eps=1e-8)

    def forward(self, x: Tensor, real: Tensor, causal: bool) -> Tensor:
        """Transform (B, T, D)."""
        for block in self.blocks:
            x = block(x, real, causal)
        return self.norm(x)
