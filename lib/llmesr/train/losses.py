"""The ranking loss and its negatives (Eq. 7)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from llmesr.models.ragged import Ragged


class NegativeSampler:
    """Draws items uniformly from those a user has not had in training.

    Attributes:
        keys: ascending user · (V + 1) + item of every training interaction.
        n_items: V.
    """

    def __init__(self, sequences: Ragged, n_items: int) -> None:
        self.keys = (sequences.row * (n_items + 1) + sequences.items).unique()
        self.n_items = n_items
        counts = torch.bincount(self.keys // (n_items + 1), minlength=len(sequences.lengths))
        self.saturated = counts >= n_items  # users who had everything: any item is as good

    def draw(self, users: Tensor, negatives: int) -> Tensor:
        """Draw (n, negatives) item ids for users (n,); what a user has had is drawn again until none is left."""
        drawn = torch.randint(1, self.n_items + 1, (len(users), negatives), device=users.device)
        base = (users * (self.n_items + 1))[:, None]
        while (had := self._had(base + drawn) & ~self.saturated[users][:, None]).any():
            again = torch.randint(1, self.n_items + 1, (int(had.sum()),), device=users.device)
            drawn = drawn.masked_scatter(had, again)
        return drawn

    def _had(self, keys: Tensor) -> Tensor:
        place = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
        return self.keys[place] == keys


def bce(states: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Binary cross-entropy: mean over positives of -log σ(s⁺) plus mean over negatives of -log(1 - σ(s⁻)).

    Args:
        states: (n, W).
        positives: (n, W) vectors of the true items.
        negatives: (n, K, W) vectors of the sampled ones.
    """
    positive = (states * positives).sum(-1)
    negative = torch.einsum("nw,nkw->nk", states, negatives)
    return F.softplus(-positive).mean() + F.softplus(negative).mean()
