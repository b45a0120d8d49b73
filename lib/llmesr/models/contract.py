"""What training and methods tell each other.

A method is a module with

- `backbone`, which reads sequences,
- `item_vectors(items)`: (…,) ids → (…, W) vectors; the score of an item is its inner product with the last state,
- `states(sequences, vectors, last_only=False)`: the (N, W) vectors of N positions → (N, W) states, or only the (B, W)
  in which the B sequences end,
- `start_epoch(overview)`: a look at all users before an epoch,
- `extra_loss(batch, states)`: a loss beside the ranking loss, or None,
- `finish(overview)`: what is left to do with the best weights,
- `matcher`, only of a method that has one: what it makes of the scores (B, V + 1) of histories at inference,
- `views(items)`, only of a method that has several: the named parts (…, W) whose sum is `item_vectors(items)`,
- `from_text(texts)`, beside it: those of the parts that an item's LLM embedding (n, L) alone gives, for new items.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from llmesr.models.ragged import Ragged


@dataclass(frozen=True)
class Batch:
    """One step's sequences.

    Attributes:
        users: (B,) whose sequence each is.
        inputs: B sequences of N items.
        targets: (N,) the item to predict at each position; 0 where there is none.
        represents: (B,) true for sequences whose last state stands for the user (all but cloze ones).
    """

    users: Tensor
    inputs: Ragged
    targets: Tensor
    represents: Tensor

    @property
    def represented(self) -> Tensor:
        """(b,) the users whose sequence's last state stands for them."""
        return self.users[self.represents]

    @property
    def last(self) -> Tensor:
        """(b,) the positions of those last states."""
        return self.inputs.last[self.represents]

    def take(self, rows: Tensor) -> "Batch":
        """Cut out sequences (b,), in ascending order."""
        chosen = torch.zeros_like(self.represents)
        chosen[rows] = True
        inputs = self.inputs.take(rows)
        return Batch(self.users[rows], inputs, self.targets[chosen[self.inputs.row]], self.represents[rows])


@dataclass(frozen=True)
class Overview:
    """What a method may look at before an epoch and after the last one: training interactions, to learn from them.

    The validation items, too, but only to choose by them.

    Attributes:
        epoch: from 0.
        seed: of the run.
        sequences: every user's training items.
        encode_users: (n,) users → (n, W) the states that `extra_loss` is given for them, but without dropout and
            without gradient; in a team all processes ask for the same users, and each encodes its share.
        encode_alone: the same, of users that this process alone asks for.
        encode: sequences → (B, W) last states, as at inference.
        asked: (n,) the users of validation.
        answers: (n,) their held-out items.
    """

    epoch: int
    seed: int
    sequences: Ragged
    encode_users: Callable[[Tensor], Tensor]
    encode_alone: Callable[[Tensor], Tensor]
    encode: Callable[[Ragged], Tensor]
    asked: Tensor
    answers: Tensor


def as_query(
    objective: str, sequences: Ragged, users: Tensor, n_items: int, max_length: int, *, hide_last: bool
) -> Ragged:
    """Cut out what is read to predict the next item: the latest items, and for the cloze task an appended [MASK].

    Args:
        objective: the backbone's.
        sequences: every user's items.
        users: (n,).
        n_items: V; V + 1 is [MASK].
        max_length: T.
        hide_last: leave out each user's last item, as the student of a distillation does.
    """
    cloze = objective == "cloze"
    query = sequences.take(users, max_length - cloze + hide_last)
    if hide_last:
        query = query.drop_last(least=0 if cloze else 1)
    return query.append(n_items + 1) if cloze else query
