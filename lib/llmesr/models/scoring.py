"""Inference: users' representations and the ranks of held-out items."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from llmesr.models.contract import as_query
from llmesr.models.matching import Matcher
from llmesr.models.methods import Method
from llmesr.models.ragged import Ragged

BLOCK_USERS = 256
"""Users encoded, or ranked, at once: bounds memory whatever their number. With twice as many, what is worked on leaves
the processor's cache, and long histories take a fifth longer."""
BLOCK_SCORES = 2**26
"""Scores of all items that are held at once, for fewer users if there are many items."""


@torch.no_grad()
def represent(
    model: Method,
    sequences: Ragged,
    users: Tensor,
    n_items: int,
    max_length: int,
    *,
    hide_last: bool = False,
) -> Tensor:
    """Encode users without dropout and without gradient.

    Args:
        model: any method.
        sequences: every user's items.
        users: (n,) the users to encode.
        n_items: V; V + 1 is [MASK].
        max_length: T, the latest items that are read.
        hide_last: leave out each user's last item, as the student of the self-distillation does.

    Returns:
        (n, W) last states, row i for `users[i]`.
    """
    was_training = model.training
    model.eval()
    table = readable(model, n_items)
    found = []
    for block in users.split(BLOCK_USERS):
        query = as_query(model.backbone.objective, sequences, block, n_items, max_length, hide_last=hide_last)
        found.append(model.states(query, F.embedding(query.items, table), last_only=True))
    model.train(was_training)
    return torch.cat(found)


def item_table(model: Method, n_items: int) -> Tensor:
    """Return the vectors of all items, (V + 1, W); row 0 is the padding's."""
    return readable(model, n_items)[:-1]


@torch.no_grad()
def readable(model: Method, n_items: int) -> Tensor:
    """Return the vectors of all that a sequence may hold, without dropout: items and [MASK], (V + 2, W)."""
    was_training = model.training
    table = model.eval().item_vectors(torch.arange(n_items + 2, device=next(model.parameters()).device))
    model.train(was_training)
    return table


Rescorer = Callable[[Tensor, slice], Tensor]
"""Scores of all items (b, V + 1) for the rows of a slice → what they are with a method's matches."""


def rescorer(model: Method, histories: Ragged) -> Rescorer | None:
    """Give what a method makes of the scores of histories, or None if the product of state and item is all."""
    matcher = getattr(model, "matcher", None)
    if matcher is None or not matcher.is_fitted:
        return None

    def rescore(scores: Tensor, rows: slice) -> Tensor:
        some = torch.arange(len(histories.lengths), device=scores.device)[rows]
        return matcher(scores, histories.take(some))

    return rescore


@torch.no_grad()
def scores_of(model: Method, table: Tensor, matcher: Matcher | None, histories: Ragged, latest: int) -> Tensor:
    """Score all items for each history.

    Args:
        model: in evaluation mode.
        table: (V + 2, W) the vectors of all that a sequence may hold; the last row is [MASK]'s.
        matcher: the method's, if it has one.
        histories: B sequences.
        latest: T, the items that the model reads; a matcher reads all.

    Returns:
        (B, V + 1) scores; column 0 is the padding's.
    """
    n_items, everyone = len(table) - 2, torch.arange(len(histories.lengths), device=table.device)
    query = as_query(model.backbone.objective, histories, everyone, n_items, latest, hide_last=False)
    scores = model.states(query, F.embedding(query.items, table), last_only=True) @ table[:-1].T
    return scores if matcher is None or not matcher.is_fitted else matcher(scores, histories)


def recommend(model: Method, history: Ragged, n_items: int, k: int, latest: int) -> list[int]:
    """List the k best items for one history (a single sequence, of which the model reads T), without those in it."""
    table = readable(model.eval(), n_items)
    scores = without(scores_of(model, table, getattr(model, "matcher", None), history, latest), history)[0]
    return scores.topk(k).indices.tolist()


def without(scores: Tensor, had: Ragged | None) -> Tensor:
    """Set the scores (B, V + 1) of padding, and of what each row has had, to minus infinity, in place."""
    scores[:, 0] = -torch.inf
    if had is not None:
        scores[had.row, had.items] = -torch.inf
    return scores


@torch.no_grad()
def sampled_ranks(
    states: Tensor, table: Tensor, targets: np.ndarray, negatives: np.ndarray, rescore: Rescorer | None = None
) -> np.ndarray:
    """Rank each target among its own negatives; ties count half.

    Args:
        states: (n, W).
        table: (V + 1, W).
        targets: (n,) item ids.
        negatives: (n, K) item ids, 0 where there are too few.
        rescore: of a method with matches, whose scores need the whole catalogue.

    Returns:
        (n,) float ranks from 1 upward.
    """
    ranks = []
    for rows in blocks(len(targets), 1 if rescore is None else len(table)):
        others = torch.tensor(negatives[rows], dtype=torch.int64, device=table.device)
        target = torch.tensor(targets[rows], dtype=torch.int64, device=table.device)
        asked = torch.cat([target[:, None], others], 1)
        if rescore is None:
            scores = torch.einsum("nw,nkw->nk", states[rows], table[asked])
        else:
            scores = rescore(states[rows] @ table.T, rows).gather(1, asked)
        ranks.append(rank_among(scores[:, :1], scores[:, 1:], others > 0))
    return torch.cat(ranks).cpu().numpy() if ranks else np.zeros(0)


@torch.no_grad()
def full_ranks(
    states: Tensor, table: Tensor, targets: np.ndarray, seen: Ragged | None, rescore: Rescorer | None = None
) -> np.ndarray:
    """Rank each target among all items; ties count half.

    Args:
        states: (n, W).
        table: (V + 1, W).
        targets: (n,) item ids.
        seen: items that are left out, row i for target i; the target itself never is. None leaves out nothing.
        rescore: of a method with matches.

    Returns:
        (n,) float ranks from 1 upward.
    """
    ranks = []
    for rows in blocks(len(targets), len(table)):
        target = torch.tensor(targets[rows], dtype=torch.int64, device=table.device)[:, None]
        scores = states[rows] @ table.T  # (b, V + 1)
        if rescore is not None:
            scores = rescore(scores, rows)
        some = torch.arange(len(states), device=table.device)[rows]
        had = None if seen is None else seen.take(some)
        ranks.append(rank_among_all(scores, target, had))
    return torch.cat(ranks).cpu().numpy() if ranks else np.zeros(0)


def users_at_once(scores: int) -> int:
    """Say for how many users, each with so many scores, there is room at once."""
    return max(1, min(BLOCK_USERS, BLOCK_SCORES // scores))


def blocks(n: int, scores: int) -> Iterator[slice]:
    """Cut n users, each with so many scores, into blocks."""
    size = users_at_once(scores)
    return (slice(start, start + size) for start in range(0, n, size))


def rank_among_all(scores: Tensor, target: Tensor, had: Ragged | None) -> Tensor:
    """Rank targets (b, 1) by scores (b, V + 1) among all items but padding and what each row has had: (b,)."""
    counted = torch.ones_like(scores, dtype=torch.bool)
    counted[:, 0] = False
    if had is not None:
        counted[had.row, had.items] = False
    counted.scatter_(1, target, False)
    return rank_among(scores.gather(1, target), scores, counted)


def rank_among(own: Tensor, others: Tensor, counted: Tensor) -> Tensor:
    """1 + the counted scores above one's own + half of those equal to it."""
    above = (~(others <= own) & counted).sum(1)  # a score that is not a number ranks last, not first
    equal = ((others == own) & counted).sum(1)
    return 1.0 + above.double() + 0.5 * equal.double()
