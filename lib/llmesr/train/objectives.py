"""What each backbone is trained to predict: inputs and targets from a user's training items (Sec. 3.4)."""

import torch
from torch import Tensor

from llmesr.models.backbones.base import Backbone
from llmesr.models.base import Batch
from llmesr.sequences import Sequences


def make_batch(backbone: Backbone, sequences: Sequences, users: Tensor, n_items: int, max_length: int) -> Batch:
    """Cut out the users' latest items and set the backbone's task on them.

    Args:
        backbone: names the objective.
        sequences: every user's training items.
        users: (B,).
        n_items: V; V + 1 is [MASK].
        max_length: T.
    """
    if backbone.objective == "cloze":
        return _cloze(sequences.take(users, max_length), users, n_items, backbone.settings.mask_share)
    return _next_item(sequences.take(users, max_length + 1), users, every=backbone.objective == "every_position")


def _next_item(items: Sequences, users: Tensor, *, every: bool) -> Batch:
    """Position t sees items up to t and predicts item t + 1: at every position, or at the last one only.

    A user with a single training item has nothing to predict, but is still taught by similar users.
    """
    inputs = items.drop_last(least=1)
    following = items.items[(items.offsets[inputs.row] + inputs.column + 1).clamp(max=len(items.items) - 1)]
    predicts = items.lengths[inputs.row] > 1
    if not every:
        predicts &= inputs.from_end == 0
    return Batch(users, inputs, torch.where(predicts, following, 0), torch.ones_like(users, dtype=torch.bool))


def _cloze(items: Sequences, users: Tensor, n_items: int, mask_share: float) -> Batch:
    """Hide a share of the positions, and once more per user only the last one, which is what inference asks.

    Of the hidden positions 80 % show [MASK], 10 % a random item, 10 % the item itself; each sequence hides at
    least one.
    """
    original, mask_id = items.items, n_items + 1
    lottery = torch.rand(original.shape, device=original.device)
    smallest = torch.full(items.lengths.shape, 2.0, device=original.device)
    smallest.scatter_reduce_(0, items.row, lottery, "amin")
    hidden = (lottery < mask_share) | (lottery == smallest[items.row])
    way = torch.rand(original.shape, device=original.device)
    anything = torch.randint(1, n_items + 1, original.shape, device=original.device)
    shown = torch.where(way < 0.8, mask_id, torch.where(way < 0.9, anything, original))
    cloze = Sequences(torch.where(hidden, shown, original), items.lengths)
    final = items.from_end == 0
    question = Sequences(torch.where(final, mask_id, original), items.lengths)
    whole = torch.zeros_like(users, dtype=torch.bool)
    return Batch(
        users.repeat(2),
        cloze.join(question),
        torch.cat([torch.where(hidden, original, 0), torch.where(final, original, 0)]),
        torch.cat([whole, ~whole]),
    )
