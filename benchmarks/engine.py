"""One epoch of LLM-ESR/SASRec with its validation: our engine, or the plain reference on a share of the batches."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from llmesr import train
from llmesr.metrics import ndcg
from llmesr.models.methods import Method
from llmesr.models.ragged import Ragged
from llmesr.models.scoring import sampled_ranks
from llmesr.train.loop import Fitted, Task, fit
from llmesr.train.negatives import NegativeSampler
from torch import Tensor

from benchmarks.given import ALONE, Given, read
from benchmarks.reference import Reference, like
from benchmarks.timing import say, told


def trained(given: Given, model: Method, task: Task, epochs: int) -> Fitted:
    """Train our way for exactly so many epochs."""
    settings = train.with_loss(given.settings.train, "llmesr")  # as the plain backbones', one negative a positive
    settings = settings.model_copy(update={"epochs": epochs, "patience": epochs + 1})
    seed = given.settings.matrix.seeds[0]
    with TemporaryDirectory() as folder:
        return fit(model, task, settings, seed, Path(folder) / "resume.pt", "", lambda measures: None, ALONE)


def ours(given: Given, epochs: int) -> dict[str, float]:
    """Train for some epochs.

    Returns:
        `epoch_seconds`, the median but for the first, which warms up, and `ndcg10` on validation after the last one.
    """
    history = trained(given, given.build("sasrec", "llmesr"), given.task, epochs).history
    return {"epoch_seconds": typical([epoch["seconds"] for epoch in history]), "ndcg10": history[-1]["NDCG@10"]}


def typical(seconds: list[float]) -> float:
    """Take the median of repeated measurements, but for the first, which warms up, if it is not the only one."""
    return float(np.median(seconds[1:] or seconds))


@dataclass(frozen=True)
class Plain:
    """The reference and what it is trained with, batch by batch as our loop does it."""

    model: Reference
    sequences: Ragged
    sampler: NegativeSampler
    optimizer: torch.optim.Optimizer

    def step(self, users: Tensor) -> None:
        """Do one step on users (B,); a negative is drawn at every position, padding included."""
        width = self.model.task(self.sequences, users)[0].shape[1]
        negatives = self.sampler.draw(users.repeat_interleave(width), 1).view(len(users), width)
        loss = self.model.loss(self.sequences, users, negatives)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    @torch.no_grad()
    def encode(self, users: Tensor) -> Tensor:
        """Encode users (B,) as at inference, which reads all of their items: (B, 2D)."""
        self.model.eval()
        inputs = self.model.rectangle(self.sequences.take(users, self.model.max_length))
        return self.model.states(inputs)[:, -1]

    @torch.no_grad()
    def validate(self, given: Given, states: Tensor, rows: slice) -> np.ndarray:
        """Rank the validation items of users, whose states these are, among their negatives."""
        targets = given.data.validation
        table = torch.cat(self.model.views(torch.arange(given.data.n_items + 1)), -1)
        return sampled_ranks(states, table, targets.items[rows], targets.negatives[rows])


def reference(given: Given, batches: int, epochs: int) -> tuple[dict[str, float], str]:
    """Time the reference on some batches of training and of validation, and scale to an epoch; or whole epochs.

    Args:
        given: settings and data.
        batches: how many are timed, after one to warm up; 0 means whole epochs.
        epochs: how many, if whole.

    Returns:
        `epoch_seconds`, after whole epochs `ndcg10` on validation; and what was timed.
    """
    seed, size = given.settings.matrix.seeds[0], given.settings.train.batch_size
    model = like(given.build("sasrec", "llmesr"), given.settings)
    sequences = given.task.sequences
    optimizer = torch.optim.Adam(model.parameters(), lr=given.settings.train.learning_rate)
    plain = Plain(model, sequences, NegativeSampler(sequences, given.data.n_items), optimizer)
    torch.manual_seed(seed)
    users = torch.tensor(given.data.validation.users, dtype=torch.int64)
    steps, blocks = (math.ceil(len(some) / size) for some in (sequences.lengths.nonzero(), users))
    if batches:
        training = _train(plain, size, 1 + batches)
        validation, _ = _validate(plain, given, users, size, batches)
        seconds = float(np.mean(training[1:])) * steps + float(np.mean(validation)) * blocks
        return {"epoch_seconds": seconds}, f"timed on {batches} of {steps} batches of training and of validation"
    timed = []
    for _ in range(epochs):
        training = _train(plain, size, steps)
        validation, ranks = _validate(plain, given, users, size, blocks)
        timed.append(sum(training) + sum(validation))
    return {"epoch_seconds": typical(timed), "ndcg10": float(ndcg(ranks, 10).mean())}, ""


def _train(plain: Plain, size: int, batches: int) -> list[float]:
    users = plain.sequences.lengths.nonzero().squeeze(1)
    plain.model.train()
    seconds = []
    for batch in users[torch.randperm(len(users))].split(size)[:batches]:
        began = time.perf_counter()
        plain.step(batch)
        seconds.append(time.perf_counter() - began)
    return seconds


def _validate(plain: Plain, given: Given, users: Tensor, size: int, batches: int) -> tuple[list[float], np.ndarray]:
    seconds, ranks = [], []
    for block, some in enumerate(users.split(size)[:batches]):
        began = time.perf_counter()
        rows = slice(block * size, block * size + len(some))
        ranks.append(plain.validate(given, plain.encode(some), rows))
        seconds.append(time.perf_counter() - began)
    return seconds, np.concatenate(ranks)


def main() -> None:
    """Measure one system."""
    job = told()
    given = read(job["params"], job["changes"])
    if job["system"] == "ours":
        say(ours(given, job["epochs"]))
    else:
        say(*reference(given, job["batches"], job["epochs"]))


if __name__ == "__main__":
    main()
