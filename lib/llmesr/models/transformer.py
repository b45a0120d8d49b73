"""The Transformer block and the learned positions that SASRec and BERT4Rec share."""

from torch import Tensor, nn

from llmesr.models.attention import SelfAttention
from llmesr.models.dropout import Dropout
from llmesr.models.ragged import Ragged
from llmesr.settings import Bert4Rec, Model, SasRec


class Positions(nn.Module):
    """Scale item vectors by √D and add learned positions, counted back from the latest item.

    Counting from the end is what padding on the left amounts to, in SASRec's code: the latest item is always last.
    """

    def __init__(self, hidden: int, max_length: int, dropout: float) -> None:
        super().__init__()
        self.table = nn.Embedding(max_length, hidden)
        nn.init.xavier_normal_(self.table.weight)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, sequences: Ragged) -> Tensor:
        """Place x (N, D)."""
        return self.dropout(x * x.shape[-1] ** 0.5 + self.table(sequences.from_end))


class Block(nn.Module):
    """One block as in SASRec's code: the normed query is also the residual; feed-forward of width D with ReLU."""

    def __init__(self, hidden: int, heads: int, dropout: float, padded_to: int | None) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(hidden, eps=1e-8)
        self.attention = SelfAttention(hidden, heads, dropout, padded_to)
        self.norm_feed_forward = nn.LayerNorm(hidden, eps=1e-8)
        self.feed_forward = nn.Sequential(
            nn.Linear(hidden, hidden),
            Dropout(dropout),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            Dropout(dropout),
        )

    def forward(self, x: Tensor, sequences: Ragged, causal: bool, *, last_only: bool = False) -> Tensor:
        """Transform (N, …, D) to the same, or to the (B, …, D) of the last positions alone."""
        q = self.norm_attention(x[sequences.last] if last_only else x)
        x = self.norm_feed_forward(q + self.attention(q, x, sequences, causal, last_only=last_only))
        return x + self.feed_forward(x)


class Blocks(nn.Module):
    """A stack of blocks and a last norm."""

    def __init__(self, settings: SasRec | Bert4Rec, model: Model, *, attend_padding: bool) -> None:
        super().__init__()
        hidden = model.hidden
        padded_to = model.max_length if attend_padding else None
        self.blocks = nn.ModuleList(
            Block(hidden, settings.heads, model.dropout, padded_to) for _ in range(settings.blocks)
        )
        self.norm = nn.LayerNorm(hidden, eps=1e-8)

    def forward(self, x: Tensor, sequences: Ragged, causal: bool, *, last_only: bool) -> Tensor:
        """Transform (N, …, D) to the same, or to the (B, …, D) of the last positions, all that the last block makes."""
        for block in self.blocks[:-1]:
            x = block(x, sequences, causal)
        return self.norm(self.blocks[-1](x, sequences, causal, last_only=last_only))
