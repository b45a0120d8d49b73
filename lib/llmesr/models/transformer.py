"""The Transformer that SASRec and BERT4Rec share: learned positions, then blocks as in SASRec's code."""

from torch import Tensor, nn

from llmesr.models.attention import SelfAttention
from llmesr.models.dropout import Dropout
from llmesr.sequences import Sequences


class Positions(nn.Module):
    """Scale item vectors by √D and add learned positions, counted back from the latest item.

    Counting from the end is what padding on the left amounts to, in SASRec's code: the latest item has always the same
    position. LLM-ESR's code counts from the oldest item.
    """

    def __init__(self, hidden: int, max_length: int, dropout: float) -> None:
        super().__init__()
        self.table = nn.Embedding(max_length, hidden)
        nn.init.xavier_normal_(self.table.weight)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, sequences: Sequences) -> Tensor:
        """Place item vectors x: (N, D) to (N, D)."""
        return self.dropout(x * x.shape[-1] ** 0.5 + self.table(sequences.from_end))


class Block(nn.Module):
    """Attention, then a feed-forward network of width D with ReLU; the normed query is also the residual."""

    def __init__(self, hidden: int, heads: int, dropout: float, zeros_up_to: int | None) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(hidden, eps=1e-8)
        self.attention = SelfAttention(hidden, heads, dropout, zeros_up_to)
        self.norm_feed_forward = nn.LayerNorm(hidden, eps=1e-8)
        self.feed_forward = nn.Sequential(
            nn.Linear(hidden, hidden), Dropout(dropout), nn.ReLU(), nn.Linear(hidden, hidden), Dropout(dropout)
        )

    def forward(self, x: Tensor, sequences: Sequences, *, causal: bool) -> Tensor:
        """Transform x: (N, D) to (N, D)."""
        query = self.norm_attention(x)
        x = self.norm_feed_forward(query + self.attention(query, x, sequences, causal=causal))
        return x + self.feed_forward(x)


class Transformer(nn.Module):
    """A stack of blocks and a last norm."""

    def __init__(self, blocks: int, hidden: int, heads: int, dropout: float, zeros_up_to: int | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(hidden, heads, dropout, zeros_up_to) for _ in range(blocks))
        self.norm = nn.LayerNorm(hidden, eps=1e-8)

    def forward(self, x: Tensor, sequences: Sequences, *, causal: bool) -> Tensor:
        """Transform x: (N, D) to states (N, D)."""
        for block in self.blocks:
            x = block(x, sequences, causal=causal)
        return self.norm(x)
