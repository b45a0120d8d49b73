"""Inference: scores of items for histories, and the ranks of held-out items."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from llmesr.models.base import Method
from llmesr.sequences import Sequences

BLOCK_USERS = 256
"""Users encoded, or ranked, at once: bounds memory whatever their number. With twice as many, what is worked on leaves
the processor's cache, and long histories take a fifth longer."""
BLOCK_SCORES = 2**26
"""Scores of all items that are held at once, for fewer users if there are many items."""


class Scores:
    """Anything that scores all items for histories."""

    def __call__(self, histories: Sequences) -> Tensor:
        """Score all items for B histories: (B, V + 1); column 0 is the padding's."""
        raise NotImplementedError

    def among(self, histories: Sequences, candidates: Tensor) -> Tensor:
        """Score candidates (B, K) for B histories: (B, K)."""
        return self(histories).gather(1, candidates)


@contextmanager
def inference(method: Method) -> Iterator[None]:
    """Compute without dropout and without gradient."""
    was_training = method.training
    method.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        method.train(was_training)


@dataclass(frozen=True)
class Scorer(Scores):
    """A method and the vectors of a catalogue.

    Attributes:
        method: trained, or being so.
        table: (V + 2, W) vectors of all that a sequence may hold; row 0 is the padding's, the last one [MASK]'s.
        max_length: T, the latest items that are read.
    """

    method: Method
    table: Tensor
    max_length: int

    @classmethod
    def of(cls, method: Method, n_items: int, max_length: int) -> "Scorer":
        """Compute the vectors of items 1 … V and of [MASK]."""
        device = next(method.parameters()).device
        with inference(method):
            return cls(method, method.item_vectors(torch.arange(n_items + 2, device=device)), max_length)

    def query(self, histories: Sequences, *, hide_last: bool = False) -> Sequences:
        """Cut out what is read to predict the next item: the latest items, and for a cloze an appended [MASK].

        Args:
            histories: B sequences.
            hide_last: leave out each one's last item, as the student of a distillation does.
        """
        cloze = self.method.backbone.objective == "cloze"
        everyone = torch.arange(len(histories), device=histories.items.device)
        query = histories.take(everyone, self.max_length - cloze + hide_last)
        if hide_last:
            query = query.drop_last(least=0 if cloze else 1)
        return query.append(len(self.table) - 1) if cloze else query

    def states(self, histories: Sequences, *, hide_last: bool = False) -> Tensor:
        """Encode B histories: their last states (B, W)."""
        if not len(histories):
            return self.table.new_zeros(0, self.table.shape[1])
        blocks = []
        with inference(self.method):
            for rows in torch.arange(len(histories), device=histories.items.device).split(BLOCK_USERS):
                query = self.query(histories.take(rows), hide_last=hide_last)
                vectors = F.embedding(query.items, self.table)  # (N, W)
                blocks.append(self.method.states(query, vectors)[query.last])  # (b, W)
        return torch.cat(blocks)

    def __call__(self, histories: Sequences) -> Tensor:
        """Score all items for B histories: (B, V + 1); column 0 is the padding's."""
        with inference(self.method):
            return self.method.score(self.states(histories), self.table[:-1], histories)

    def among(self, histories: Sequences, candidates: Tensor) -> Tensor:
        """Score candidates (B, K) for B histories: (B, K); alone, if a score is an inner product."""
        if not self.method.scores_by_product:
            return super().among(histories, candidates)
        return torch.einsum("bw,bkw->bk", self.states(histories), F.embedding(candidates, self.table))


@torch.no_grad()
def rank(
    scores: Scores,
    histories: Sequences,
    targets: np.ndarray,
    n_items: int,
    *,
    negatives: np.ndarray | None = None,
    seen: Sequences | None = None,
    only: Tensor | None = None,
) -> np.ndarray:
    """Rank each target: among its own negatives (sampled ranking), or among all items (full ranking). Ties count half.

    Args:
        scores: of what is ranked.
        histories: n sequences.
        targets: (n,) item ids.
        n_items: V.
        negatives: (n, K) item ids, 0 where there are too few; None ranks among all items.
        seen: items that are left out of the full ranking, row i for target i; the target itself never is.
        only: (V + 1,) true for the items that compete in the full ranking; None lets all compete.

    Returns:
        (n,) float ranks from 1 upward.
    """
    device, ranks = histories.items.device, []
    per_user = n_items + 1 if negatives is None or not _alone(scores) else negatives.shape[1] + 1
    for rows in torch.arange(len(targets), device=device).split(users_at_once(per_user)):
        target = torch.as_tensor(targets[rows.cpu().numpy()], dtype=torch.int64, device=device)[:, None]  # (b, 1)
        part = histories.take(rows)
        if negatives is not None:
            others = torch.as_tensor(negatives[rows.cpu().numpy()], dtype=torch.int64, device=device)  # (b, K)
            own = scores.among(part, torch.cat([target, others], 1))  # (b, 1 + K)
            ranks.append(_rank(own[:, :1], own[:, 1:], others > 0))
        else:
            own = scores(part)  # (b, V + 1)
            competes = torch.ones_like(own, dtype=torch.bool) if only is None else only.expand_as(own).clone()
            competes[:, 0] = False
            if seen is not None:
                had = seen.take(rows)
                competes[had.row, had.items] = False
            competes.scatter_(1, target, value=False)  # the target does not compete with itself
            ranks.append(_rank(own.gather(1, target), own, competes))
    return torch.cat(ranks).cpu().numpy() if ranks else np.zeros(0)


def _alone(scores: Scores) -> bool:
    return isinstance(scores, Scorer) and scores.method.scores_by_product


def _rank(own: Tensor, others: Tensor, competes: Tensor) -> Tensor:
    """1 + the competing scores (b, K) above one's own (b, 1) + half of those equal to it: (b,)."""
    above = (~(others <= own) & competes).sum(1)  # a score that is not a number ranks last, not first
    equal = ((others == own) & competes).sum(1)
    return 1.0 + above.double() + 0.5 * equal.double()


def users_at_once(scores: int) -> int:
    """Say for how many users, each with so many scores, there is room at once."""
    return max(1, min(BLOCK_USERS, BLOCK_SCORES // scores))


def without(scores: Tensor, had: Sequences | None) -> Tensor:
    """Set the scores (B, V + 1) of padding, and of what each row has had, to minus infinity, in place."""
    scores[:, 0] = -torch.inf
    if had is not None:
        scores[had.row, had.items] = -torch.inf
    return scores
