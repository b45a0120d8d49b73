"""Ragged sequences on the device, padded only to what a batch needs."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class PaddedSequences:
    """Users' items on the device, cut out and padded on demand.

    Attributes:
        items: (N,) item ids, user after user.
        offsets: (U + 1,) where each user starts and ends.
        max_length: T, the latest items that are read.
        mask_id: V + 1, BERT4Rec's [MASK].
    """

    items: Tensor
    offsets: Tensor
    max_length: int
    mask_id: int

    @classmethod
    def on(
        cls, items: np.ndarray, offsets: np.ndarray, max_length: int, n_items: int, device: torch.device
    ) -> "PaddedSequences":
        """Bring ragged rows to the device, once."""
        there = [torch.from_numpy(np.asarray(part)).long().to(device) for part in (items, offsets)]
        return cls(*there, max_length, n_items + 1)

    @property
    def lengths(self) -> Tensor:
        """(U,) number of items of each user."""
        return self.offsets.diff()

    def pad(self, users: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Cut out the latest `length` items of users, padded with 0 on the right to the longest of them.

        Args:
            users: (B,).
            length: items kept at most.

        Returns:
            (B, T) items and (B,) how many of them are real.
        """
        end = self.offsets[users + 1]
        kept = (end - self.offsets[users]).clamp(max=length)
        column = torch.arange(int(kept.max()) if len(kept) else 0, device=end.device)
        place = ((end - kept)[:, None] + column).clamp(max=max(len(self.items) - 1, 0))
        return torch.where(column < kept[:, None], self.items[place], 0), kept


def drop_last(items: Tensor, lengths: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Remove each row's last item, but keep at least `least`: (B, T) and the new lengths."""
    kept = torch.maximum(lengths - 1, lengths.clamp(max=least))
    column = torch.arange(items.shape[1], device=items.device)
    return torch.where(column < kept[:, None], items, 0)[:, : max(int(kept.max()), 1)], kept


def as_query(items: Tensor, lengths: Tensor, mask_id: int) -> tuple[Tensor, Tensor]:
    """Append [MASK] to each row, the question that BERT4Rec answers: (B, T + 1) and the new lengths."""
    longer = torch.nn.functional.pad(items, (0, 1))
    return longer.scatter(1, lengths[:, None], mask_id), lengths + 1
