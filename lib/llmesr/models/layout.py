"""Where the rows of ragged sequences go in attention's rectangles, and back.

Positions are cut into pieces of d numbers, one a view and head. A rectangle holds b sequences of T positions as
(b, h, T, d) with h = views · heads, so that products over it need no copy. Making a layout costs a few operations on
indices; the layers of a model share it.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from llmesr.models.move import Move, places_of
from llmesr.models.ragged import Group, Ragged


@dataclass(frozen=True)
class Layout:
    """All rectangles of a batch, one after the other.

    Attributes:
        shapes: b and h of each rectangle.
        queries: pieces of the queries to cells.
        keys_values: pieces of the keys and values to cells: a rectangle's keys, then its values.
        answers: cells to the pieces (N or B, h) of the queries that asked.
        query_cells: how many cells of queries each rectangle has.
        key_value_cells: how many cells of keys and values.
        masks: what is added to a rectangle's logits, (b, 1, 1 or T, T): 0 where a position is seen, -∞ where not.
    """

    shapes: list[tuple[int, int]]
    queries: Move
    keys_values: Move
    answers: Move
    query_cells: list[int]
    key_value_cells: list[int]
    masks: list[Tensor]


def layout_of(
    sequences: Ragged, views: int, heads: int, causal: bool, padded_to: int | None, last_only: bool
) -> Layout:
    """Lay out sequences, or take the layout that was made of them before.

    Args:
        sequences: B sequences of N positions.
        views: vectors a position.
        heads: heads a view.
        causal: a position sees earlier ones and itself only.
        padded_to: T if one more key, the last row of all, stands for zero vectors up to T.
        last_only: only last positions ask.
    """
    key = (views, heads, causal, padded_to, last_only)
    if key not in sequences.layouts:
        sequences.layouts[key] = _lay_out(sequences, *key)
    return sequences.layouts[key]


def _lay_out(sequences: Ragged, views: int, heads: int, causal: bool, padded_to: int | None, last_only: bool) -> Layout:
    h, device = views * heads, sequences.items.device
    n_queries, n_pairs = len(sequences.lengths if last_only else sequences.items) * h, len(sequences.items) * 2 * h
    each = torch.arange(h, device=device)
    keys = each + each // heads * heads  # a view's keys are followed by its values
    shapes, queries, real_queries, pairs, real_pairs, masks = [], [], [], [], [], []
    for group in sequences.groups:
        rows = group.rows[:, None] if last_only else group.index  # (b, 1 or T)
        real = torch.ones_like(rows, dtype=torch.bool) if last_only else group.real
        queries.append((rows[:, None] * h + each[:, None]).flatten())  # of (b, h, 1 or T)
        real_queries.append(real[:, None].expand(-1, h, -1).flatten())
        cells = _pairs(group, keys, heads, None if padded_to is None else n_pairs)  # (2, b, h, T or T + 1)
        real = F.pad(group.real, (0, cells.shape[-1] - group.real.shape[1]))  # zero vectors are none of the N
        pairs.append(cells.flatten())
        real_pairs.append(real[:, None].expand_as(cells).flatten())
        masks.append(_mask(group, causal and not last_only, padded_to))
        shapes.append((len(group.rows), h))
    query, real_query, pair, real_pair = (torch.cat(parts) for parts in (queries, real_queries, pairs, real_pairs))
    place = places_of(query, real_query, n_queries)
    zeros = None if padded_to is None else _zero_cells(pair, n_pairs, 2 * heads)
    return Layout(
        shapes,
        Move(query, place),
        Move(pair, places_of(pair, real_pair, n_pairs + (0 if zeros is None else len(zeros))), shared=zeros),
        Move(place, query, blank=(~real_query).nonzero().squeeze(1)),
        [len(part) for part in queries],
        [len(part) for part in pairs],
        masks,
    )


def _zero_cells(pair: Tensor, first: int, pieces: int) -> Tensor:
    """Find the cells that each piece of the zero vectors' key and value fills, those from `first` on: (pieces, r)."""
    cells = (pair >= first).nonzero().squeeze(1)
    return cells[pair[cells].argsort(stable=True)].view(pieces, -1)


def _pairs(group: Group, keys: Tensor, heads: int, zero_vector: int | None) -> Tensor:
    """Say which pieces are a rectangle's keys and values: (2, b, h, T), with one more position for zero vectors."""
    h = len(keys)
    which = torch.stack([keys, keys + heads])  # (2, h)
    cells = group.index[:, None] * (2 * h) + which[:, None, :, None]
    if zero_vector is None:
        return cells
    pieces = torch.arange(2 * heads, device=keys.device).view(2, heads).repeat(1, h // heads)  # the same for each view
    more = (zero_vector + pieces)[:, None, :, None].expand(*cells.shape[:-1], 1)
    return torch.cat([cells, more], -1)


def _mask(group: Group, causal: bool, padded_to: int | None) -> Tensor:
    """What is added to the logits; one more column, for zero vectors, holds the logarithm of how many there are."""
    T = group.index.shape[1]
    seen = group.real[:, None, None, :]
    if causal:
        seen = seen & torch.ones(T, T, dtype=torch.bool, device=seen.device).tril()
    mask = torch.zeros(seen.shape, device=seen.device).masked_fill(~seen, float("-inf"))
    if padded_to is None:
        return mask
    filled = (padded_to - group.real.sum(1)).clamp(min=0).float().log()
    return torch.cat([mask, filled[:, None, None, None].expand(*mask.shape[:-1], 1)], -1)
