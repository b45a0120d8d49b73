"""Batches of users of similar length, so that little is padded."""

from collections.abc import Iterator

import torch
from torch import Tensor

POOL = 8
"""Batches whose users are sorted by length together; more would pad less and shuffle less."""


def user_batches(lengths: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Yield every user once, in random batches of similar length.

    Args:
        lengths: (U,) items of each user; users without any are left out.
        batch_size: users a batch.

    Yields:
        (b,) rows of users.
    """
    users = torch.nonzero(lengths > 0).squeeze(1)
    shuffled = users[torch.randperm(len(users)).to(users.device)]
    pools = [pool[torch.argsort(lengths[pool], stable=True)] for pool in shuffled.split(POOL * batch_size)]
    batches = [batch for pool in pools for batch in pool.split(batch_size)]
    for index in torch.randperm(len(batches)).tolist():
        yield batches[index]
