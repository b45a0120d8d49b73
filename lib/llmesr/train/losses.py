"""Ranking losses: how the state of a position tells the item that came next from other items, the candidates.

Vectors of items come as one table (M, W); which of its rows are meant is said by indices. Scores are made for a block
of positions at a time, and made again for the gradient, so that memory is bounded whatever the number of positions,
candidates and items.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from llmesr.train.negatives import NegativeSampler
from llmesr.train.settings import TrainSettings

BLOCK_NUMBERS = 2**23
"""Numbers that a block may hold at once (32 MB): scores, or vectors of candidates."""
ROWS_A_CANDIDATE = 16
"""Up to so many rows of the table a candidate, scoring all of them is faster than gathering candidates' vectors."""


@dataclass(frozen=True)
class SoftTargets:
    """What of each target goes to items that are alike.

    Attributes:
        items: (V + 1, K) ids, filled up by 0.
        shares: (V + 1, K) of each; a row sums to λ, or to 0 where nothing is alike.
    """

    items: Tensor
    shares: Tensor

    @classmethod
    def of(cls, similarity: csr_matrix, share: float, temperature: float) -> "SoftTargets":
        """Make shares of a sparse matrix (V + 1, V + 1) of cosines: λ softmax(cosine / τ) over those of a row."""
        width = max(1, int(np.diff(similarity.indptr).max()))
        row = np.repeat(np.arange(similarity.shape[0]), np.diff(similarity.indptr))
        column = np.arange(similarity.nnz) - similarity.indptr[row]
        items = torch.zeros(similarity.shape[0], width, dtype=torch.int64)
        logits = torch.full(items.shape, -torch.inf)
        items[row, column] = torch.from_numpy(similarity.indices.astype(np.int64))
        logits[row, column] = torch.from_numpy(similarity.data / temperature).float()
        return cls(items, share * logits.softmax(1).nan_to_num())

    def to(self, device: torch.device) -> "SoftTargets":
        """Bring them to a device."""
        return SoftTargets(self.items.to(device), self.shares.to(device))


@dataclass(frozen=True)
class RankingLoss:
    """The loss that the settings choose: `candidates` first, then, with their vectors, the loss itself."""

    settings: TrainSettings
    sampler: NegativeSampler
    soft: SoftTargets | None = None

    def candidates(self, users: Tensor) -> Tensor:
        """List what n positions, one of users (n,) each, are compared with: ids (n, K), or (c,) for all of them."""
        if self.settings.loss == "cross_entropy":
            return torch.arange(1, self.sampler.n_items + 1, device=users.device)
        if self.settings.loss == "sampled_softmax":
            return self.sampler.draw_for_all(self.settings.negatives)
        return self.sampler.draw(users, self.settings.negatives)

    def importance(self, targets: Tensor) -> Tensor | None:
        """Weigh positions by their target items (n,): inverse propensity, or None if all count the same.

        How likely an interaction with an item is to be seen at all is taken to grow with a power of its popularity
        (Yang et al., RecSys 2018): the weight is (count + 1) to minus that power, one on average over training.
        """
        if self.settings.propensity == 0:
            return None
        return self._importance[targets - 1]

    @cached_property
    def _importance(self) -> Tensor:
        """(V,) weight of each item, from 1 on."""
        counts, inverse = self.sampler.counts, self.sampler.proposal**-self.settings.propensity
        return (inverse / (counts * inverse).sum() * counts.sum()).float()

    def __call__(
        self,
        states: Tensor,
        table: Tensor,
        positives: Tensor,
        compared: Tensor,
        ids: Tensor,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss (Eq. 7 with `bce`).

        Args:
            states: (n, W).
            table: (M, W).
            positives: (n,) rows of the true next items.
            compared: rows of the candidates, shaped as `candidates` gave them.
            ids: their item ids.
            weights: (n,) of the positions; None counts all the same.
        """
        match self.settings.loss:
            case "bce":
                return bce(states, table, positives, compared, weights)
            case "gbce":
                n_items, calibration = self.sampler.n_items, self.settings.calibration
                return gbce(states, table, positives, compared, n_items, calibration, weights)
            case "sampled_softmax":
                return sampled_softmax(states, table, positives, compared, self.sampler.proposal[ids - 1], weights)
            case "cross_entropy":
                return cross_entropy(states, table, positives, compared, weights, self.soft)
            case other:
                raise ValueError(f"'{other}' is no loss: `own` stands for the one of the method")


def bce(states: Tensor, table: Tensor, positives: Tensor, negatives: Tensor, weights: Tensor | None = None) -> Tensor:
    """Binary cross-entropy: mean over positives of -log σ(s⁺) plus mean over negatives of -log(1 - σ(s⁻)).

    Args:
        states: (n, W).
        table: (M, W).
        positives: (n,) rows of the true items.
        negatives: (n, K) rows of the sampled ones.
        weights: (n,) of the positions; None counts all the same, as in the losses below.
    """
    return _binary(states, table, positives, negatives, 1.0, 1 / negatives.shape[1], weights)


def gbce(
    states: Tensor,
    table: Tensor,
    positives: Tensor,
    negatives: Tensor,
    n_items: int,
    calibration: float,
    weights: Tensor | None = None,
) -> Tensor:
    """Binary cross-entropy with σ(s⁺)^β, against the overconfidence that few negatives give (gSASRec, RecSys 2023).

    With α = K / (V - 1), β = α (t (1 - 1/α) + 1/α): 1 for t = 0, which is the plain one; α for t = 1, with which
    probabilities are calibrated. Positive and negatives of a position count the same.

    Departs from the paper: all logits are lowered by log K, so that training starts at the odds 1 : K of a random
    candidate's being the true one. No ranking changes by it. Without it training first learns to push every item down,
    for some thousand steps, in which nothing else is learned; short training stops there.

    Args:
        states: (n, W).
        table: (M, W).
        positives: (n,).
        negatives: (n, K).
        n_items: V.
        calibration: t.
        weights: (n,) or None.
    """
    K = negatives.shape[1]
    share = K / (n_items - 1)
    beta = share * (calibration * (1 - 1 / share) + 1 / share)
    return _binary(states, table, positives, negatives, beta / (K + 1), 1 / (K + 1), weights, offset=math.log(K))


def _binary(
    states: Tensor,
    table: Tensor,
    positives: Tensor,
    negatives: Tensor,
    of_positive: float,
    of_negative: float,
    weights: Tensor | None,
    offset: float = 0.0,
) -> Tensor:
    """Weigh -log σ(s⁺) and all -log(1 - σ(s⁻)) of a position, after the offset is taken from its scores."""
    at_once = len(table) <= ROWS_A_CANDIDATE * negatives.shape[1]

    def block(states: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        positive = (states * F.embedding(positives, table)).sum(-1)
        if at_once:
            negative = (states @ table.T).gather(1, negatives)
        else:
            negative = torch.einsum("nw,nkw->nk", states, F.embedding(negatives, table))
        return of_positive * F.softplus(offset - positive) + of_negative * F.softplus(negative - offset).sum(1)

    K, (M, W) = negatives.shape[1], table.shape
    return _in_blocks(block, M + K if at_once else K * W, weights, states, positives, negatives)


def cross_entropy(
    states: Tensor,
    table: Tensor,
    positives: Tensor,
    candidates: Tensor,
    weights: Tensor | None = None,
    soft: SoftTargets | None = None,
) -> Tensor:
    """Softmax cross-entropy among all candidates, the true items among them: the mean of -log p(s⁺).

    With soft targets (SimRec, Brody and Lagziel 2024) a share of each target is that of similar items.

    Args:
        states: (n, W).
        table: (M, W).
        positives: (n,) rows of the true items.
        candidates: (V,) rows; with soft targets those of items 1 … V, in this order.
        weights: (n,) or None.
        soft: of items 0 … V.
    """
    compared = F.embedding(candidates, table)  # (V, W)
    place = torch.empty(len(table), dtype=torch.int64, device=table.device)
    place[candidates] = torch.arange(len(candidates), device=table.device)

    def block(states: Tensor, positives: Tensor) -> Tensor:
        scores, own = states @ compared.T, place[positives]
        if soft is None:
            return F.cross_entropy(scores, own, reduction="none")
        items, shares = soft.items[own + 1], soft.shares[own + 1]  # (b, K)
        alike = (shares * scores.gather(1, (items - 1).clamp(min=0))).sum(1)
        true = scores.gather(1, own[:, None]).squeeze(1)
        return scores.logsumexp(1) - (1 - shares.sum(1)) * true - alike

    return _in_blocks(block, len(candidates), weights, states, positives)


def sampled_softmax(
    states: Tensor,
    table: Tensor,
    positives: Tensor,
    candidates: Tensor,
    proposal: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """Softmax cross-entropy among the true item and K sampled ones, whose scores are corrected by -log(K q).

    The sum over exp(s - log K q) is an unbiased estimate of that over all items (Bengio and Senécal, 2008). A
    candidate that is the true item does not count against it.

    Args:
        states: (n, W).
        table: (M, W).
        positives: (n,).
        candidates: (K,) rows, drawn from q with replacement.
        proposal: (K,) q of each.
        weights: (n,) or None.
    """
    compared = F.embedding(candidates, table)  # (K, W)
    correction = (len(candidates) * proposal).log().to(compared.dtype)

    def block(states: Tensor, positives: Tensor) -> Tensor:
        positive = (states * F.embedding(positives, table)).sum(-1, keepdim=True)
        others = states @ compared.T - correction
        others = others.masked_fill(candidates == positives[:, None], float("-inf"))
        return torch.cat([positive, others], 1).logsumexp(1) - positive.squeeze(1)

    return _in_blocks(block, len(candidates), weights, states, positives)


def _in_blocks(loss: Callable[..., Tensor], numbers: int, weights: Tensor | None, *rows: Tensor) -> Tensor:
    """Average a loss, given a position each, over all n of them; a position takes so many numbers."""
    n = len(rows[0])
    size = max(1, BLOCK_NUMBERS // numbers)

    def summed(weights: Tensor | None, *rows: Tensor) -> Tensor:
        own = loss(*rows)
        return own.sum() if weights is None else (own * weights).sum()

    if n <= size:
        return summed(weights, *rows) / n
    of_blocks = [None] * -(-n // size) if weights is None else weights.split(size)
    parts = zip(of_blocks, *(row.split(size) for row in rows), strict=True)
    return torch.stack([checkpoint(summed, *part, use_reentrant=False) for part in parts]).sum() / n
