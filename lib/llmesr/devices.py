"""Which device computes, with how many threads, and in which precision."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from llmesr.errors import InputError


def pick_device(wanted: str) -> torch.device:
    """Return the device: `auto` takes a GPU if there is one, made to add up in a fixed order and in float32.

    Raises:
        InputError: `cuda` is asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("key 'train.device' is 'cuda' but torch sees no GPU: set it to 'auto' or 'cpu'")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    # cuBLAS reads it once, when the first tensor gets to the GPU; without it, its sums differ from run to run
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.allow_tf32 = False  # PyTorch's default rounds what a GRU multiplies to 10 bits
    return torch.device("cuda")


def computes_bfloat16(device: torch.device) -> bool:
    """Tell whether the device multiplies bfloat16 in hardware, where it is faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capability = torch.backends.cpu.get_cpu_capability()
    return capability.startswith("AVX512") and torch.cpu._is_avx512_bf16_supported()


@contextmanager
def cpu_threads(threads: int) -> Iterator[None]:
    """Compute with so many CPU threads; sums are added up in an order that depends on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
