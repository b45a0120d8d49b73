"""Matches at inference: what of the catalogue is like the items of a history, by text and by who has both.

An item is not like itself: where evaluation leaves out what a user has had, except the answer, that would give away
an answer that was had before.

No part of it is trained by gradient steps over users. How much each match counts beside the recommender's own score,
and how that depends on an item's popularity, are seven numbers, the most likely ones on validation.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from llmesr.models.ragged import Ragged

WEIGHTS = ("score", "text", "together", "popularity", "popularity²", "text × popularity", "together × popularity")
"""The square is there for items that are rare in training because they are new."""
MOST_COLUMNS = 2**13
"""Items among which the weights are fitted at most, drawn at random."""
MOST_SCORES = 2**24
"""Scores that the weights are fitted to at most."""
STEPS = 100


class Lists(nn.Module):
    """For each item the items that are like it, and how much: (V + 1, K) each, filled up by item 0 and zero."""

    def __init__(self, n_items: int, neighbours: int) -> None:
        super().__init__()
        self.register_buffer("items", torch.zeros(n_items + 1, neighbours, dtype=torch.int32))
        self.register_buffer("values", torch.zeros(n_items + 1, neighbours))

    def fill(self, similarity: csr_matrix) -> None:
        """Take over a sparse matrix (V + 1, V + 1), of each row the K largest."""
        self.items.zero_()
        self.values.zero_()
        for row in np.flatnonzero(np.diff(similarity.indptr)):
            part = slice(similarity.indptr[row], similarity.indptr[row + 1])
            best = np.argsort(-similarity.data[part], kind="stable")[: self.items.shape[1]]
            self.items[row, : len(best)] = torch.from_numpy(similarity.indices[part][best].astype(np.int32))
            self.values[row, : len(best)] = torch.from_numpy(similarity.data[part][best])

    def pooled(self, histories: Ragged, how: str) -> Tensor:
        """Pool the lists of each history's items by `amax` or `sum`: (B, V + 1), zero where nothing is alike.

        An item that occurs twice counts once.
        """
        n_rows, width = len(histories.lengths), len(self.items)
        pairs = (histories.row * width + histories.items).unique()
        row, item = pairs // width, pairs % width
        place = row[:, None] * width + self.items[item].long()  # (N, K)
        values = self.values[item]
        found = values.new_zeros(n_rows * width).scatter_reduce_(0, place.flatten(), values.flatten(), how)
        return found.view(n_rows, width)


class Matcher(nn.Module):
    """Both matches and their weights.

    Attributes:
        weights: (7,) as `WEIGHTS`; until they are fitted only the recommender's own score counts.
        popularity: (V + 1,) log(1 + training count), standardised over items.
    """

    def __init__(self, n_items: int, neighbours: int) -> None:
        super().__init__()
        self.text, self.together = Lists(n_items, neighbours), Lists(n_items, neighbours)
        self.register_buffer("popularity", torch.zeros(n_items + 1))
        self.register_buffer("weights", F.one_hot(torch.tensor(0), len(WEIGHTS)).float())

    @property
    def is_fitted(self) -> bool:
        """Whether there is more than the recommender's own score."""
        return bool(self.weights[1:].any())

    def note_popularity(self, train: Tensor) -> None:
        """Note how popular each item is in training items (N,)."""
        logs = torch.bincount(train, minlength=len(self.popularity)).float().log1p()
        self.popularity.copy_((logs - logs[1:].mean()) / logs[1:].std(correction=min(1, len(logs) - 2)).clamp(min=1e-6))

    def grown(self, alike: csr_matrix, popularity: Tensor) -> "Matcher":
        """Copy it for a catalogue to which items have been added that nobody has had.

        Args:
            alike: (V + n + 1, V + n + 1) by text, the new ones last.
            popularity: (n,) what the new ones are taken for, standardised as the others' are.
        """
        n_items, new = len(self.popularity) - 1, len(popularity)
        found = Matcher(n_items + new, self.text.items.shape[1])
        found.text.fill(alike)
        for name in ("items", "values"):
            getattr(found.together, name)[: n_items + 1].copy_(getattr(self.together, name))
        found.popularity.copy_(torch.cat([self.popularity, popularity]))
        found.weights.copy_(self.weights)
        return found

    def parts(self, scores: Tensor, histories: Ragged) -> Tensor:
        """List what is weighted: (7, B, V + 1)."""
        text, together = self.text.pooled(histories, "amax"), self.together.pooled(histories, "sum")
        popular = self.popularity.expand_as(scores)
        return torch.stack([scores, text, together, popular, popular**2, text * popular, together * popular])

    def forward(self, scores: Tensor, histories: Ragged) -> Tensor:
        """Add the weighted matches of B histories to a recommender's scores (B, V + 1): the weighted sum of `parts`."""
        w, popular = self.weights, self.popularity
        text, together = self.text.pooled(histories, "amax"), self.together.pooled(histories, "sum")
        found = w[0] * scores + (w[3] * popular + w[4] * popular**2)
        return found.addcmul_(text, w[1] + w[5] * popular).addcmul_(together, w[2] + w[6] * popular)

    def fit(self, score: Callable[[Tensor], Tensor], histories: Ragged, answers: Tensor, seed: int) -> None:
        """Find the weights with which held-out items are the most likely, among all that their users have not had.

        Of very many items and users a random part is looked at, a block of users at a time.

        Args:
            score: some of the histories (b,) → the recommender's own scores of them (b, V + 1).
            histories: n.
            answers: (n,) the held-out items.
            seed: of the random part.
        """
        n, width = len(answers), len(self.popularity)
        chance = torch.Generator().manual_seed(seed)
        columns = torch.randperm(width - 1, generator=chance)[:MOST_COLUMNS].sort().values.to(answers.device) + 1
        most = max(1, MOST_SCORES // len(columns))
        rows = torch.randperm(n, generator=chance)[:most].sort().values.to(answers.device)
        looked = [
            self._in_front(score(some), histories.take(some), answers[some, None], columns)
            for some in rows.split(max(1, MOST_SCORES // width))
        ]
        parts, impossible = (torch.cat(blocks, -2) for blocks in zip(*looked, strict=True))
        self.weights.copy_(_most_likely(parts, impossible, self.weights))

    def _in_front(self, scores: Tensor, had: Ragged, answers: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Put the parts of the answers (b, 1) before those of the columns: (7, b, 1 + m), and which do not compete."""
        parts = self.parts(scores, had)
        impossible = torch.zeros_like(scores, dtype=torch.bool)
        impossible[had.row, had.items] = True
        impossible.scatter_(1, answers, value=True)  # which stands in front instead
        own = parts.gather(2, answers.expand(len(parts), -1, 1))  # (7, b, 1)
        return torch.cat([own, parts[:, :, columns]], 2), F.pad(impossible[:, columns], (1, 0))


def _most_likely(parts: Tensor, impossible: Tensor, start: Tensor) -> Tensor:
    """Maximise the likelihood of column 0 of Σ w · parts (7, n, 1 + m) over the weights w: a convex problem."""
    spread = parts.flatten(1).std(1).clamp(min=1e-6)  # parts of one spread are easier to descend on
    parts = parts / spread[:, None, None]
    weights = (start * spread).requires_grad_()
    answers = torch.zeros(parts.shape[1], dtype=torch.int64, device=parts.device)
    optimizer = torch.optim.LBFGS([weights], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(torch.tensordot(weights, parts, 1).masked_fill(impossible, float("-inf")), answers)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    return weights.detach() / spread
