"""The training loop: Adam, early stopping on validation NDCG@10, resume after a kill."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import trange

from llmesr.errors import InputError
from llmesr.metrics import hit_rate, ndcg
from llmesr.models.base import Batch, Method, TrainContext
from llmesr.models.scoring import Scorer, rank
from llmesr.prepare.dataset import Targets
from llmesr.sequences import Sequences
from llmesr.train import checkpoint
from llmesr.train.adversary import Adversary
from llmesr.train.distributed import Distributed
from llmesr.train.losses import RankingLoss, SoftTargets
from llmesr.train.negatives import NegativeSampler
from llmesr.train.objectives import make_batch
from llmesr.train.settings import TrainSettings

Measures = dict[str, float]


@dataclass(frozen=True)
class Task:
    """What is learned from.

    Attributes:
        sequences: every user's training items, on the device.
        n_items: V.
        max_length: T, the latest items that are read.
        targets: gives the validation targets of an epoch (the same ones unless negatives are redrawn).
        soft: what of each target goes to similar items, on the device; None: nothing.
    """

    sequences: Sequences
    n_items: int
    max_length: int
    targets: Callable[[int], Targets]
    soft: SoftTargets | None = None


@dataclass(frozen=True)
class Fitted:
    """What training gives: the history, an entry an epoch, and the epoch whose weights the model now has."""

    history: list[Measures]
    best_epoch: int


class Step(nn.Module):
    """One batch's loss L = L_rank + the method's extra loss (Eq. 10).

    Of several processes every one draws the whole batch and computes its share, scaled so that the mean over processes
    is the loss. A loss among the batch's own rows (RLMRec's), or of what a method chooses or draws for itself (MELT's),
    sees the process's share only.
    """

    def __init__(
        self, method: Method, task: Task, ranking: RankingLoss, adversary: Adversary | None, distributed: Distributed
    ) -> None:
        super().__init__()
        self.method, self.adversary = method, adversary
        self.task, self.ranking, self.distributed = task, ranking, distributed

    def forward(self, users: Tensor) -> Tensor:
        """Compute the loss of a batch of users (b,)."""
        task, size = self.task, self.distributed.size
        whole = make_batch(self.method.backbone, task.sequences, users, task.n_items, task.max_length)
        predicting = whole.targets.nonzero().squeeze(1)  # (n,)
        candidates = self.ranking.candidates(whole.users[whole.inputs.row[predicting]])  # (n, K) or (c,)
        if size == 1:
            return self._loss(whole, candidates, whole)
        share = whole.take(self.distributed.shard(len(whole.users)))
        if candidates.dim() == 2:  # of each position its own
            candidates = candidates[whole.inputs.row[predicting] % size == self.distributed.rank]
        loss = self._loss(share, candidates, whole) if len(share.users) else 0.0
        touched = sum(p.flatten()[:1].sum() * 0 for p in self.parameters())  # DDP waits for every gradient
        return loss * size + touched

    def _loss(self, batch: Batch, candidates: Tensor, whole: Batch) -> Tensor:
        predicts = batch.targets.nonzero().squeeze(1)  # (n,)
        # each item is turned into its vector once, however often it occurs in the step
        ids = [batch.inputs.items, batch.targets[predicts], candidates]
        items, place = distinct(torch.cat([part.flatten() for part in ids]), self.task.n_items + 2)
        inputs, positives, compared = place.split([part.numel() for part in ids])
        table = self.method.item_vectors(items)  # (M, W)
        states = self.method.states(batch.inputs, F.embedding(inputs, table))  # (N, W)
        loss = states.new_zeros(())
        if len(predicts):
            weights = self.ranking.importance(batch.targets[predicts])
            parts = zip(*(rows.chunk(self.method.learned_apart, -1) for rows in (states[predicts], table)), strict=True)
            asked = positives, compared.view_as(candidates), candidates, weights
            ranking = sum(self.ranking(*part, *asked) for part in parts)
            loss = ranking * (len(predicts) / int((whole.targets > 0).sum()))
        if self.adversary is not None:
            loss = loss + self.adversary(batch, states, items, table) * (len(batch.users) / len(whole.users))
        if len(batch.represented):
            extra = self.method.extra_loss(batch, states)
            if extra is not None:
                loss = loss + extra * (len(batch.represented) / len(whole.represented))
        return loss


def distinct(ids: Tensor, end: int) -> tuple[Tensor, Tensor]:
    """Do what `ids.unique(return_inverse=True)` does to ids (n,) from 0 to `end` - 1, without sorting them."""
    there = torch.zeros(end, dtype=torch.bool, device=ids.device)
    there[ids] = True
    return there.nonzero().squeeze(1), (there.cumsum(0) - 1)[ids]


def context(method: Method, task: Task, seed: int, epoch: int, distributed: Distributed) -> TrainContext:
    """Give a method its look at all users."""

    def encode_users(users: Tensor, *, shard: bool = True) -> Tensor:
        scorer = Scorer.of(method, task.n_items, task.max_length)
        if not shard:
            return scorer.states(task.sequences.take(users), hide_last=True)
        own = scorer.states(task.sequences.take(users[distributed.shard(len(users))]), hide_last=True)
        return distributed.gather(own, len(users))

    def encode(sequences: Sequences) -> Tensor:
        own = sequences.take(distributed.shard(len(sequences)))
        return distributed.gather(Scorer.of(method, task.n_items, task.max_length).states(own), len(sequences))

    targets, device = task.targets(epoch), task.sequences.items.device
    users, items = (torch.tensor(part, dtype=torch.int64, device=device) for part in (targets.users, targets.items))
    return TrainContext(epoch, seed, task.sequences, encode_users, encode, task.max_length, users, items)


def validate(
    method: Method, task: Task, distributed: Distributed, epoch: int = 0, *, protocol: str = "sampled"
) -> Measures:
    """Rank the validation items against their negatives, or (`full`) all items that are new: NDCG@10 and HR@10."""
    targets = task.targets(epoch)
    share = distributed.shard(len(targets.users))
    rows = share.cpu().numpy()
    users = torch.tensor(targets.users[rows], dtype=torch.int64, device=distributed.device)
    own = np.zeros(len(rows))
    for part, version in method.for_validation(users):
        scorer, chosen = Scorer.of(version, task.n_items, task.max_length), rows[part.cpu().numpy()]
        histories = task.sequences.take(users[part])
        against = {"negatives": targets.negatives[chosen]} if protocol == "sampled" else {"seen": histories}
        own[part.cpu().numpy()] = rank(scorer, histories, targets.items[chosen], task.n_items, **against)
    ranks = distributed.gather(torch.as_tensor(own, device=distributed.device), len(targets.users)).cpu().numpy()
    return {"NDCG@10": float(ndcg(ranks, 10).mean()), "HR@10": float(hit_rate(ranks, 10).mean())}


def fit(
    method: Method,
    task: Task,
    settings: TrainSettings,
    seed: int,
    checkpoint_file: Path,
    fingerprint: str,
    distributed: Distributed,
    *,
    adversary: Adversary | None = None,
    progress: bool = False,
) -> Fitted:
    """Train until validation NDCG@10 has not risen for `patience` epochs, then restore the best weights.

    Every step draws its random numbers from (seed, epoch, step) alone, so a resumed run ends as an uninterrupted one.

    Args:
        method: on the device of the task's sequences.
        task: what is learned from.
        settings: of the training, with a loss of its own name.
        seed: of the run.
        checkpoint_file: is written after every epoch.
        fingerprint: of the run; a checkpoint with another one is ignored.
        distributed: the processes that train together.
        adversary: what is trained against the method.
        progress: show a bar.

    Raises:
        InputError: the loss is no longer finite, or the checkpoint is damaged.
    """
    ranking = RankingLoss(settings, NegativeSampler(task.sequences, task.n_items), task.soft)
    step = Step(method, task, ranking, adversary, distributed)
    wrapped = distributed.prepare(step)
    rates = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    optimizer = torch.optim.Adam(step.parameters(), **rates, fused=True)  # one pass: six times as fast at 1M items
    saved = checkpoint.load(checkpoint_file, fingerprint) if distributed.writes else None
    state = distributed.broadcast(saved) or _fresh(fingerprint)
    if state["epoch"]:
        step.load_state_dict(state["step"])
        optimizer.load_state_dict(state["optimizer"])
    sequences_per_user = 2 if method.backbone.objective == "cloze" else 1
    per_batch = max(1, settings.batch_size // sequences_per_user)  # no batch is smaller than a user
    done, total = state["epoch"], settings.epochs
    bar = trange(done, total, initial=done, total=total, unit="epoch", disable=not (progress and distributed.writes))
    for epoch in bar:
        if epoch - state["best_epoch"] >= settings.patience:
            break
        began = time.monotonic()
        _seed(seed, epoch)
        method.train()
        method.on_epoch_start(context(method, task, seed, epoch, distributed))
        loss = _epoch(wrapped, optimizer, settings, (seed, epoch), per_batch, task, distributed)
        if not np.isfinite(loss):
            raise InputError(
                f"the loss is {loss} in epoch {epoch + 1}: lower 'train.learning_rate' ({settings.learning_rate}) "
                "or check the embeddings"
            )
        measures = {"epoch": epoch + 1, "loss": loss, **validate(method, task, distributed, epoch)}
        if settings.stop_by == "full":
            found = validate(method, task, distributed, epoch, protocol="full")
            measures |= {f"full {name}": value for name, value in found.items()}
        value = measures["full NDCG@10" if settings.stop_by == "full" else "NDCG@10"]
        _remember(state, method, {**measures, "seconds": time.monotonic() - began}, value)
        if distributed.writes:
            checkpoint.save(checkpoint_file, {**state, "step": step.state_dict(), "optimizer": optimizer.state_dict()})
        told = {"loss": f"{loss:.3f}", "NDCG@10": f"{measures['NDCG@10']:.4f}"}
        bar.set_postfix(told, refresh=False)  # drawn with the next step: a notebook would be flooded
    method.load_state_dict(state["best"])
    return Fitted(state["history"], state["best_epoch"])


def _fresh(fingerprint: str) -> dict[str, Any]:
    return {"fingerprint": fingerprint, "epoch": 0, "best_epoch": 0, "best_value": -1.0, "best": {}, "history": []}


def _remember(state: dict[str, Any], method: Method, measures: Measures, value: float) -> None:
    """Note an epoch, and its weights if their value is the best so far."""
    state["history"].append(measures)
    state["epoch"] = int(measures["epoch"])
    if value > state["best_value"]:
        state["best_value"], state["best_epoch"] = value, state["epoch"]
        state["best"] = {name: value.detach().clone() for name, value in method.state_dict().items()}


def _seed(*numbers: int) -> None:
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))


def _epoch(
    step: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: TrainSettings,
    chance: tuple[int, int],
    users_per_batch: int,
    task: Task,
    distributed: Distributed,
) -> float:
    """Pass once over all users in random batches; return the mean loss."""
    users = task.sequences.lengths.nonzero().squeeze(1)
    shuffled = users[torch.randperm(len(users)).to(users.device)]
    losses = []
    for number, batch in enumerate(shuffled.split(users_per_batch), start=1):
        _seed(*chance, number)  # the same in every process, whatever each has drawn before
        with torch.autocast(distributed.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
            loss = step(batch)
        optimizer.zero_grad(set_to_none=True)
        if loss.requires_grad:
            loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return float(distributed.mean(torch.stack(losses)).mean())
