"""Inference: users' representations and the ranks of held-out items."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from llmesr.models.methods import Recommender
from llmesr.models.sequences import PaddedSequences, as_query, drop_last

BLOCK_TOKENS = 32_768
"""Positions encoded at once: bounds memory whatever the sequences' lengths."""


@torch.no_grad()
def represent(model: Recommender, sequences: PaddedSequences, users: Tensor, *, hide_last: bool = False) -> Tensor:
    """Encode users without dropout and without gradient.

    Args:
        model: any method.
        sequences: the items to read.
        users: (n,) rows of the users, in any order.
        hide_last: leave out each user's last item, as the student of the self-distillation does.

    Returns:
        (n, W) last states, row i for `users[i]`.
    """
    was_training = model.training
    model.eval()
    cloze = model.backbone.objective == "cloze"
    lengths = sequences.lengths[users]
    order = torch.argsort(lengths, stable=True)
    found = []
    for block in _blocks(lengths[order].cpu().numpy(), BLOCK_TOKENS):
        items, kept = sequences.pad(users[order[block]], sequences.max_length - cloze + hide_last)
        if hide_last:
            items, kept = drop_last(items, kept, least=0 if cloze else 1)
        if cloze:
            items, kept = as_query(items, kept, sequences.mask_id)
        found.append(model.states(items)[torch.arange(len(items)), kept - 1])
    model.train(was_training)
    states = torch.cat(found)
    return torch.empty_like(states).index_copy_(0, order, states)


def item_table(model: Recommender, n_items: int) -> Tensor:
    """Return the vectors of all items, (V + 1, W); row 0 is the padding's."""
    device = next(model.parameters()).device
    with torch.no_grad():
        return model.item_vectors(torch.arange(n_items + 1, device=device))


@torch.no_grad()
def sampled_ranks(states: Tensor, table: Tensor, targets: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Rank each target among its own negatives; ties count half.

    Args:
        states: (n, W).
        table: (V + 1, W).
        targets: (n,) item ids.
        negatives: (n, K) item ids, 0 where there are too few.

    Returns:
        (n,) float ranks from 1 upward.
    """
    ranks = []
    for start in range(0, len(targets), 1024):
        rows = slice(start, start + 1024)
        others = torch.from_numpy(negatives[rows]).to(table.device).long()
        target = torch.from_numpy(targets[rows]).to(table.device).long()
        scores = torch.einsum("nw,nkw->nk", states[rows], table[torch.cat([target[:, None], others], 1)])
        ranks.append(_rank(scores[:, :1], scores[:, 1:], others > 0))
    return torch.cat(ranks).cpu().numpy() if ranks else np.zeros(0)


@torch.no_grad()
def full_ranks(states: Tensor, table: Tensor, targets: np.ndarray, seen: PaddedSequences | None) -> np.ndarray:
    """Rank each target among all items; ties count half.

    Args:
        states: (n, W).
        table: (V + 1, W).
        targets: (n,) item ids.
        seen: items that are left out, row i for target i; the target itself never is. None leaves out nothing.

    Returns:
        (n,) float ranks from 1 upward.
    """
    ranks = []
    for start in range(0, len(targets), 1024):
        target = torch.from_numpy(targets[start : start + 1024]).to(table.device).long()[:, None]
        scores = states[start : start + 1024] @ table.T  # (b, V + 1)
        counted = torch.ones_like(scores, dtype=torch.bool)
        counted[:, 0] = False
        if seen is not None:
            users = torch.arange(start, start + len(target), device=table.device)
            counted.scatter_(1, seen.pad(users, int(seen.lengths.max()))[0], False)
        counted.scatter_(1, target, False)
        ranks.append(_rank(scores.gather(1, target), scores, counted))
    return torch.cat(ranks).cpu().numpy() if ranks else np.zeros(0)


def _rank(own: Tensor, others: Tensor, counted: Tensor) -> Tensor:
    """1 + the counted scores above one's own + half of those equal to it."""
    above = ((others > own) & counted).sum(1)
    equal = ((others == own) & counted).sum(1)
    return 1.0 + above.double() + 0.5 * equal.double()


def _blocks(lengths: np.ndarray, tokens: int) -> Iterator[slice]:
    """Cut ascending lengths into runs whose padded size stays within `tokens`."""
    start = 0
    while start < len(lengths):
        sizes = np.arange(1, len(lengths) - start + 1) * (lengths[start:] + 1)
        stop = start + max(1, int(np.searchsorted(sizes, tokens, side="right")))
        yield slice(start, stop)
        start = stop
