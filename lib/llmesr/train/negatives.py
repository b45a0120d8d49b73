"""Items that a user has not had, drawn at random to be told apart from those that were (Sec. 3.4)."""

import torch
from torch import Tensor

from llmesr.sequences import Sequences

MOST_PAIRS = 2**27
"""Pairs of a user and an item up to which a table tells who had what (a byte a pair); beyond, a search does."""


class NegativeSampler:
    """Draws items uniformly from those a user has not had in training, or by popularity for all users at once.

    Attributes:
        keys: ascending user · (V + 1) + item of every training interaction.
        n_items: V.
        counts: (V,) training interactions of each item, from 1 on.
        proposal: (V,) how probable an item, from 1 on, is drawn for all: its training count + 1, over their sum.
    """

    def __init__(self, sequences: Sequences, n_items: int) -> None:
        self.keys = (sequences.row * (n_items + 1) + sequences.items).unique()
        self.n_items = n_items
        pairs = len(sequences.lengths) * (n_items + 1)
        self._table = None
        if pairs <= MOST_PAIRS:
            self._table = torch.zeros(pairs, dtype=torch.bool, device=self.keys.device)
            self._table[self.keys] = True
        counts = torch.bincount(self.keys // (n_items + 1), minlength=len(sequences.lengths))
        self.saturated = counts >= n_items  # users who had everything: any item is as good
        self.counts = torch.bincount(sequences.items, minlength=n_items + 1)[1:].double()
        weights = self.counts + 1
        self.proposal = weights / weights.sum()
        self._edges = self.proposal.cpu().cumsum(0).to(self.proposal.device)  # on a GPU the sum's order is not fixed

    def draw(self, users: Tensor, negatives: int) -> Tensor:
        """Draw (n, negatives) item ids for users (n,); what a user has had is drawn again until none is left."""
        drawn = torch.randint(1, self.n_items + 1, (len(users), negatives), device=users.device)
        base, flat = users * (self.n_items + 1), drawn.view(-1)
        had = self._had(base[:, None] + drawn) & ~self.saturated[users][:, None]
        wrong = had.flatten().nonzero().squeeze(1)
        while len(wrong):
            flat[wrong] = torch.randint(1, self.n_items + 1, (len(wrong),), device=users.device)
            wrong = wrong[self._had(base[wrong // negatives] + flat[wrong])]
        return drawn

    def draw_for_all(self, negatives: int) -> Tensor:
        """Draw (negatives,) item ids from `proposal`, with replacement."""
        lottery = torch.rand(negatives, dtype=torch.float64, device=self._edges.device)
        return torch.searchsorted(self._edges, lottery).clamp(max=self.n_items - 1) + 1

    def _had(self, keys: Tensor) -> Tensor:
        if self._table is not None:
            return self._table[keys]
        place = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
        return self.keys[place] == keys
