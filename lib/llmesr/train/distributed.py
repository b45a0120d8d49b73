"""Several processes that train one model, on Hugging Face Accelerate: each computes its share, all know the result.

`accelerate launch -m llmesr.train …` starts them, on the GPUs or machines that `accelerate config` knows. Every process
draws the same batches and takes its share of each; DistributedDataParallel averages the gradients.
"""

import os
from dataclasses import dataclass
from typing import TypeVar

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from llmesr.devices import pick_device

T = TypeVar("T")


@dataclass(frozen=True)
class Distributed:
    """One process among several, or alone.

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
    def join(cls, device: str) -> "Distributed":
        """Join the processes that `accelerate launch` has started, or be alone.

        Args:
            device: `train.device`.

        Raises:
            InputError: `cuda` is asked for and there is none.
        """
        chosen = pick_device(device)
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(chosen)
        plain = DistributedDataParallelKwargs(broadcast_buffers=False)  # every process computes them itself
        accelerator = Accelerator(cpu=chosen.type == "cpu", kwargs_handlers=[plain])
        return cls(accelerator.device, accelerator.process_index, accelerator.num_processes, accelerator)

    @property
    def writes(self) -> bool:
        """Whether this is the process that reports and writes files."""
        return self.rank == 0

    def prepare(self, module: nn.Module) -> nn.Module:
        """Wrap a module so that the gradients of its output are averaged over the processes."""
        return module if self.accelerator is None else self.accelerator.prepare(module)

    def shard(self, n: int) -> Tensor:
        """Say which of n rows are this process's share."""
        return torch.arange(n, device=self.device)[self.rank :: self.size]

    def gather(self, share: Tensor, n: int) -> Tensor:
        """Put the shares of all processes together: (n, …) in the order of the rows."""
        if self.accelerator is None:
            return share
        most = -(-n // self.size)
        padded = torch.cat([share, share.new_zeros(most - len(share), *share.shape[1:])])
        parts = self.accelerator.gather(padded).unflatten(0, (self.size, most))
        return parts.transpose(0, 1).flatten(0, 1)[:n]

    def broadcast(self, value: T) -> T:
        """Give every process what process 0 has, which alone writes and may be the only one that sees its files."""
        return value if self.accelerator is None else broadcast_object_list([value])[0]

    def mean(self, value: Tensor) -> Tensor:
        """Average a value over the processes."""
        return value if self.accelerator is None else self.accelerator.reduce(value, "mean")

    def wait(self) -> None:
        """Wait until all have come this far."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()
