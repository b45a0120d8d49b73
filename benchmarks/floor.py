"""The floor: what an epoch's matrix products, and its optimizer's memory traffic, would take at the machine's peak."""

import time
from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.inputs import read, task_of, trained, typical
from benchmarks.timing import read_job, report

SIDE = 1024
"""Of the square matrices whose product is the peak."""
COPY = 2**26
"""Numbers (256 MB) whose copy is the bandwidth: more than any cache holds."""
TRIES = 8
ADAM = 7 * 4
"""Bytes a weight and step: weight, gradient and two moments are read, weight and moments written, in float32."""


def peak() -> float:
    """Measure the best of some float32 products: operations a second."""
    a, b = torch.randn(2, SIDE, SIDE)
    return 2 * SIDE**3 / _least(lambda: a @ b)


def bandwidth() -> float:
    """Measure the best of some copies: bytes a second, read and written."""
    source, target = torch.zeros(COPY), torch.zeros(COPY)
    return 2 * 4 * COPY / _least(lambda: target.copy_(source))


def _least(do: Callable[[], object]) -> float:
    seconds = []
    for _ in range(TRIES):
        began = time.perf_counter()
        do()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def main() -> None:
    """Count an epoch's operations, forward and backward, teachers and validation included; time another epoch."""
    job = read_job()
    run = read(job)
    task = task_of(run)
    before = peak(), bandwidth()
    seconds = [epoch["seconds"] for epoch in trained(run, run.build(), task, job["epochs"]).history]
    best, widest = (max(pair) for pair in zip(before, (peak(), bandwidth()), strict=True))
    method = run.build()
    # the counter does not know the CPU's fused attention, but the two products that it consists of
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        trained(run, method, task, 1)
    weights = sum(parameter.numel() for parameter in method.parameters() if parameter.requires_grad)
    cloze = method.backbone.objective == "cloze"
    learners = int((task.sequences.lengths > 0).sum())
    steps = -(-learners // max(1, run.settings.train.batch_size // (2 if cloze else 1)))
    products, traffic = counter.get_total_flops() / best, steps * weights * ADAM / widest
    epoch = typical(seconds)
    report(
        {
            "epoch_seconds": epoch,
            "gflop": counter.get_total_flops() / 1e9,
            "peak_gflops": best / 1e9,
            "floor_seconds": products,
            "adam_floor_seconds": traffic,
            "share_of_floor": (products + traffic) / epoch,
        }
    )


if __name__ == "__main__":
    main()
