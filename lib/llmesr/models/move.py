"""Rows that go to new places and whose gradients are fetched back, not scattered."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


@dataclass(frozen=True)
class Move:
    """Which row fills each place, and where the gradient of each row lies.

    What `x[there]` computes. Its gradient is scattered, which on a CPU takes three to six times as long as to gather.
    A row that fills one place only knows where to look, so both ways are gathered; padding's places do not count.

    Attributes:
        there: (m,) the row that fills each place. What fills padding's places must be without gradient.
        back: (n,) the place at which the gradient of each row lies.
        shared: (k, r) the r places that each of the last k rows fills; their gradients are summed.
        blank: (b,) rows whose gradient is zero: padding, when it is moved out.
    """

    there: Tensor
    back: Tensor
    shared: Tensor | None = None
    blank: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Move rows (n, d) to their places (m, d)."""
        return _Gather.apply(x, self)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, move: Move) -> Tensor:
        ctx.move = move
        return x.index_select(0, move.there)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        move = ctx.move
        found = gradient.index_select(0, move.back)
        if move.shared is not None:
            found[-len(move.shared) :] = gradient[move.shared].sum(1)
        if move.blank is not None:
            found.index_fill_(0, move.blank, 0)
        return found, None


def places_of(there: Tensor, real: Tensor, n: int) -> Tensor:
    """Find the place that each of n rows fills, padding apart.

    Args:
        there: (m,) the row that fills each place.
        real: (m,) true where that is no padding; each row at most once.
        n: number of rows.

    Returns:
        (n,) places, 0 for a row that fills none.
    """
    places, back = real.nonzero().squeeze(1), there.new_zeros(n)
    back[there[places]] = places
    return back
