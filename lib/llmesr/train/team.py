"""Processes that train one model together, on Hugging Face Accelerate: each computes its share, all know the whole.

`accelerate launch -m llmesr.train …` starts them, on the GPUs or machines that `accelerate config` knows. Every process
draws the same batches and takes its share of each, gradients are added up, so a team learns what one process would.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from llmesr.devices import pick_device

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """One process's view of the team.

    Attributes:
        device: on which this process computes.
        rank: its number, from 0; 0 alone writes files.
        size: how many there are.
        accelerator: reaches the others; None for a process alone.
    """

    device: torch.device
    rank: int = 0
    size: int = 1
    accelerator: Accelerator | None = None

    @classmethod
    def join(cls, device: str) -> "Team":
        """Join the team that `accelerate launch` has started, or be one alone.

        Args:
            device: `train.device`.

        Raises:
            InputError: `cuda` is asked for and there is none.
        """
        chosen = pick_device(device)
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(chosen)
        accelerator = Accelerator(cpu=chosen.type == "cpu")
        return cls(accelerator.device, accelerator.process_index, accelerator.num_processes, accelerator)

    @property
    def writes(self) -> bool:
        """Whether this is the process that reports and writes files."""
        return self.rank == 0

    def mine(self, n: int) -> Tensor:
        """Say which of n rows are this process's share."""
        return torch.arange(n, device=self.device)[self.rank :: self.size]

    def together(self, rows: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Compute something for rows (n,), each process for its share: (n, …) in their order, for all."""
        share = self.mine(len(rows))
        own = compute(rows[share]) if len(share) else compute(rows[:1])[:0]  # more processes than rows: of its shape
        if self.accelerator is None:
            return own
        most = -(-len(rows) // self.size)
        padded = torch.cat([own, own.new_zeros(most - len(own), *own.shape[1:])])
        parts = self.accelerator.gather(padded).unflatten(0, (self.size, most))
        return parts.transpose(0, 1).flatten(0, 1)[: len(rows)]

    def from_first(self, value: T) -> T:
        """Give every process what process 0 has, which alone writes and may be the only one that sees its files."""
        return value if self.accelerator is None else broadcast_object_list([value])[0]

    def total(self, value: Tensor) -> Tensor:
        """Add up a value over the processes."""
        return value if self.accelerator is None else self.accelerator.reduce(value, "sum")

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up gradients over the processes; where a process has none, it adds nothing."""
        if self.accelerator is None:
            return
        learned = [parameter for parameter in parameters if parameter.requires_grad]
        flat = [torch.zeros_like(p) if p.grad is None else p.grad for p in learned]
        summed = self.total(torch.cat([gradient.flatten() for gradient in flat]))
        for parameter, gradient in zip(learned, summed.split([p.numel() for p in learned]), strict=True):
            parameter.grad = gradient.view_as(parameter)

    def wait(self) -> None:
        """Wait until all have come this far."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()
