"""What several tests share: sequences from lists, a method's look at users, weights compared, processes killed."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from subprocess import Popen

import numpy as np
import torch
from llmesr import paths
from llmesr.models.base import Method, TrainContext
from llmesr.prepare.dataset import Targets
from llmesr.sequences import Sequences
from llmesr.train import loop
from llmesr.train.distributed import Distributed
from llmesr.train.loop import Task

ROOT = paths.ROOT
ALONE = Distributed(torch.device("cpu"))
V, T, D = 48, 20, 32
"""Items, the latest ones that are read, and the hidden size of the tiny dataset."""


def sequences_of(*rows: list[int]) -> Sequences:
    """Make sequences from lists of items."""
    return Sequences.of_lists(rows)


def encode(method: Method, sequences: Sequences) -> torch.Tensor:
    """Encode sequences of N items with a method's own vectors: (N, W)."""
    return method.states(sequences, method.item_vectors(sequences.items))


def context_of(method: Method, sequences: Sequences, epoch: int = 0) -> TrainContext:
    """Give a method its look at sequences of the tiny dataset's items."""
    few = np.arange(min(3, len(sequences)))
    held_out = Targets(few, few + 1, np.zeros((len(few), 1), np.int32))
    return loop.context(method, Task(sequences, V, T, lambda _: held_out), 0, epoch, ALONE)


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Tell whether two models have the same weights, bit for bit."""
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


def finished(process: Popen, seconds: float = 180) -> str:
    """Wait until a process has ended well; return what it printed."""
    printed, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, printed[-3000:]
    return printed


def kill_when(process: Popen, happened: Callable[[], bool]) -> None:
    """Kill a process with SIGKILL as soon as something has happened."""
    until = time.monotonic() + 120
    while not happened():
        assert process.poll() is None, process.communicate()[0][-3000:]
        assert time.monotonic() < until
        time.sleep(0.005)
    process.kill()
    process.wait()


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Answer on a free port of this machine, as long as the block lasts; gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
