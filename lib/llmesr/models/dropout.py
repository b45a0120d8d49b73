"""Dropout whose masks are cheap to draw on a CPU."""

import torch
from torch import Tensor, nn

LEVELS = 2**16


class Dropout(nn.Module):
    """Zero each element with probability `p`, scale the rest by 1 / (1 - p).

    PyTorch draws one random number an element, which takes a quarter of a training epoch on a CPU; here four 16-bit
    numbers out of each 64-bit one decide (p is met to 1 / 65,536). On a GPU PyTorch's own dropout is used.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements of x, of any shape; the identity in evaluation and for p = 0."""
        if not self.training or self.p == 0:
            return x
        if x.is_cuda:
            return nn.functional.dropout(x, self.p)
        threshold = min(round(self.p * LEVELS), LEVELS - 1)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        mask = torch.empty_like(x)  # of x's type: to convert booleans costs as much as to multiply
        torch.ge(words.view(torch.int16)[: x.numel()].view(x.shape), threshold - LEVELS // 2, out=mask)
        return x * mask.mul_(LEVELS / (LEVELS - threshold))
