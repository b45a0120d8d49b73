"""What each backbone is trained to predict: inputs and targets from a user's training items (Sec. 3.4)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from llmesr.models.backbones import Backbone
from llmesr.models.sequences import PaddedSequences, as_query, drop_last


@dataclass(frozen=True)
class Batch:
    """One step's sequences.

    Attributes:
        users: (B,).
        inputs: (B, T) item ids, padded with 0 on the right.
        targets: (B, T) the item to predict at each position; 0 where there is none.
        last: (B,) the position of each user's representation.
        represents: (B,) true for rows whose last state stands for the user (all but cloze rows).
    """

    users: Tensor
    inputs: Tensor
    targets: Tensor
    last: Tensor
    represents: Tensor


def make_batch(backbone: Backbone, sequences: PaddedSequences, users: Tensor) -> Batch:
    """Cut out the users' sequences and set the backbone's task on them."""
    if backbone.objective == "cloze":
        return _cloze(sequences, users, backbone.mask_share)
    return _next_item(sequences, users, every=backbone.objective == "every_position")


def _next_item(sequences: PaddedSequences, users: Tensor, *, every: bool) -> Batch:
    """Position t sees items up to t and predicts item t + 1: at every position, or at the last one only.

    A user with a single training item has nothing to predict, but is still taught by similar users.
    """
    items, lengths = sequences.pad(users, sequences.max_length + 1)
    inputs, kept = drop_last(items, lengths, least=1)
    column = torch.arange(inputs.shape[1], device=items.device)
    following = torch.nn.functional.pad(items, (0, 1))[:, 1 : inputs.shape[1] + 1]  # 0 after a row's last item
    if not every:
        following = torch.where(column == lengths[:, None] - 2, following, 0)
    return Batch(users, inputs, following, kept - 1, torch.ones_like(users, dtype=torch.bool))


def _cloze(sequences: PaddedSequences, users: Tensor, mask_share: float) -> Batch:
    """Hide a share of the positions, and once more per user only the last one, which is what inference asks.

    Of the hidden positions 80 % show [MASK], 10 % a random item, 10 % the item itself; each row hides at least one.
    """
    items, lengths = sequences.pad(users, sequences.max_length)
    real = items > 0
    lottery = torch.rand(items.shape, device=items.device).masked_fill(~real, 2.0)
    hidden = lottery < mask_share
    hidden.scatter_(1, lottery.argmin(1, keepdim=True), True)
    way = torch.rand(items.shape, device=items.device)
    anything = torch.randint(1, sequences.mask_id, items.shape, device=items.device)
    shown = torch.where(way < 0.8, sequences.mask_id, torch.where(way < 0.9, anything, items))
    cloze = torch.where(hidden, shown, items)
    final = torch.arange(items.shape[1], device=items.device) == lengths[:, None] - 1
    question = as_query(*drop_last(items, lengths, least=0), sequences.mask_id)[0][:, : items.shape[1]]
    question = torch.nn.functional.pad(question, (0, items.shape[1] - question.shape[1]))
    whole = torch.zeros_like(users, dtype=torch.bool)
    return Batch(
        users.repeat(2),
        torch.cat([cloze, question]),
        torch.cat([torch.where(hidden, items, 0), torch.where(final, items, 0)]),
        (lengths - 1).repeat(2),
        torch.cat([whole, ~whole]),
    )
