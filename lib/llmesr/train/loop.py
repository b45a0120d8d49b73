"""The training loop: Adam, early stopping on validation NDCG@10, resume after a kill."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import trange

from llmesr.errors import InputError
from llmesr.metrics import hit_rate, ndcg
from llmesr.models.contract import Overview
from llmesr.models.methods import Method
from llmesr.models.ragged import Ragged
from llmesr.models.scoring import item_table, represent, rescorer, sampled_ranks
from llmesr.prepare.dataset import Targets
from llmesr.settings import Train
from llmesr.train import checkpoint
from llmesr.train.losses import RankingLoss
from llmesr.train.negatives import NegativeSampler
from llmesr.train.objectives import make_batch
from llmesr.train.team import Team

CHECKPOINT_SECONDS = 15


@dataclass(frozen=True)
class Fitted:
    """What training gives: the history, an entry an epoch, and the epoch whose weights the model now has."""

    history: list[dict[str, float]]
    best_epoch: int


@dataclass(frozen=True)
class Task:
    """What is learned from.

    Attributes:
        sequences: every user's training items, on the device.
        n_items: V.
        max_length: T, the latest items that are read.
        targets: gives the validation targets of an epoch (the same ones unless negatives are redrawn).
    """

    sequences: Ragged
    n_items: int
    max_length: int
    targets: Callable[[int], Targets]


def step_loss(model: Method, task: Task, ranking: RankingLoss, users: Tensor, team: Team) -> Tensor:
    """Compute one batch's loss L = L_rank + the method's extra loss (Eq. 10).

    In a team every process draws the whole batch and computes its share; the shares add up to the loss. A loss among
    the batch's own rows (RLMRec's), or of what a method chooses or draws for itself (MELT's), sees the process's only.
    """
    whole = make_batch(model.backbone, task.sequences, users, task.n_items, task.max_length)
    predicting = whole.targets.nonzero().squeeze(1)
    candidates = ranking.candidates(whole.users[whole.inputs.row[predicting]])
    batch = whole
    if team.size > 1:
        batch = whole.take(team.mine(len(whole.users)))
        if not len(batch.users):  # fewer sequences than processes
            return torch.zeros((), device=team.device)
        if candidates.dim() == 2:  # of each position its own
            candidates = candidates[whole.inputs.row[predicting] % team.size == team.rank]
    predicts = batch.targets.nonzero().squeeze(1)
    asked = [batch.inputs.items, batch.targets[predicts], candidates]
    # each item is turned into its vector once, however often it occurs in the step
    items, place = distinct(torch.cat([part.flatten() for part in asked]), task.n_items + 2)
    read, positives, compared = place.split([part.numel() for part in asked])
    table = model.item_vectors(items)  # (M, W)
    states = model.states(batch.inputs, F.embedding(read, table))  # (N, W)
    loss = states.new_zeros(())
    if len(predicts):
        weights = ranking.importance(batch.targets[predicts])
        own = ranking(states[predicts], table, positives, compared.view_as(candidates), candidates, weights)
        loss = own * (len(predicts) / len(predicting))
    rival = getattr(model, "rival", None)
    if rival is not None:  # every process sees its share of users, and as good as the same items
        loss = loss + rival.loss(batch, states, items, table) * (len(batch.users) / len(whole.users))
    extra = model.extra_loss(batch, states)
    if extra is None or not len(batch.represented):
        return loss
    return loss + extra * (len(batch.represented) / len(whole.represented))


def distinct(ids: Tensor, end: int) -> tuple[Tensor, Tensor]:
    """Do what `ids.unique(return_inverse=True)` does to ids (n,) from 0 to `end` - 1, without sorting them."""
    there = torch.zeros(end, dtype=torch.bool, device=ids.device)
    there[ids] = True
    return there.nonzero().squeeze(1), (there.cumsum(0) - 1)[ids]


def overview(model: Method, task: Task, seed: int, epoch: int, team: Team) -> Overview:
    """Give a method its look at all users."""

    def encode(sequences: Ragged) -> Tensor:
        everyone = torch.arange(len(sequences.lengths), device=sequences.items.device)
        return represent_together(model, task, sequences, everyone, team)

    students = partial(represent_together, model, task, task.sequences, hide_last=True)
    together, alone = partial(students, team=team), partial(students, team=Team(team.device))
    held_out = task.targets(epoch)
    asked, answers = (
        torch.tensor(part, dtype=torch.int64, device=task.sequences.items.device)
        for part in (held_out.users, held_out.items)
    )
    return Overview(epoch, seed, task.sequences, together, alone, encode, asked, answers)


def represent_together(
    model: Method, task: Task, sequences: Ragged, users: Tensor, team: Team, *, hide_last: bool = False
) -> Tensor:
    """Encode users as `represent` does, each process its share: (n, W), for all."""
    sizes = {"n_items": task.n_items, "max_length": task.max_length}
    return team.together(users, lambda share: represent(model, sequences, share, **sizes, hide_last=hide_last))


def validate(model: Method, task: Task, team: Team, epoch: int = 0) -> dict[str, float]:
    """Rank the validation items against their negatives: NDCG@10 and HR@10."""
    targets = task.targets(epoch)
    users = torch.tensor(targets.users, dtype=torch.int64, device=task.sequences.items.device)
    states = represent_together(model, task, task.sequences, users, team)
    table = item_table(model, task.n_items)
    histories = task.sequences.take(users)
    ranks = sampled_ranks(states, table, targets.items, targets.negatives, rescorer(model, histories))
    return {"NDCG@10": float(ndcg(ranks, 10).mean()), "HR@10": float(hit_rate(ranks, 10).mean())}


def fit(
    model: Method,
    task: Task,
    settings: Train,
    seed: int,
    resume: Path,
    identity: str,
    report: Callable[[dict[str, float]], None],
    team: Team,
) -> Fitted:
    """Train until validation NDCG@10 has not risen for `patience` epochs, then restore the best weights.

    Every step draws its chance from (seed, epoch, step) alone, so a resumed run ends as an uninterrupted one does.

    Args:
        model: on the device of the task's sequences.
        task: what is learned from.
        settings: of the training.
        seed: of the run.
        resume: the checkpoint file.
        identity: fingerprint of the run; a checkpoint with another one is ignored.
        report: is called with the measures of every epoch.
        team: the processes that train together.

    Raises:
        InputError: the loss is no longer finite, or the checkpoint is damaged.
    """
    rates = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    optimizer = torch.optim.Adam(model.parameters(), **rates, fused=True)  # one pass: six times as fast at 1M items
    state = team.from_first(checkpoint.load(resume, identity) if team.writes else None) or _fresh(identity)
    if state["epoch"]:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    for past in state["history"]:
        report(past)
    ranking = RankingLoss(settings, NegativeSampler(task.sequences, task.n_items))
    saved = time.monotonic()
    done, total = state["epoch"], settings.epochs
    bar = trange(done, total, initial=done, total=total, unit="epoch", disable=not team.writes)
    for epoch in bar:
        if epoch - state["best_epoch"] >= settings.patience:
            break
        measures = _train_and_validate(model, task, ranking, optimizer, settings, seed, epoch, team)
        _remember(state, model, measures)
        report(measures)
        told = {"loss": f"{measures['loss']:.3f}", "NDCG@10": f"{measures['NDCG@10']:.4f}"}
        bar.set_postfix(told, refresh=False)  # drawn with the next step: a notebook would be flooded
        if team.writes and time.monotonic() - saved > CHECKPOINT_SECONDS:
            checkpoint.save(resume, {**state, "model": model.state_dict(), "optimizer": optimizer.state_dict()})
            saved = time.monotonic()
    model.load_state_dict(state["best"])
    return Fitted(state["history"], state["best_epoch"])


def _fresh(identity: str) -> dict[str, Any]:
    return {"fingerprint": identity, "epoch": 0, "best_epoch": 0, "best_value": -1.0, "best": {}, "history": []}


def _remember(state: dict[str, Any], model: Method, measures: dict[str, float]) -> None:
    """Note an epoch, and its weights if they are the best so far."""
    state["history"].append(measures)
    state["epoch"] = int(measures["epoch"])
    if measures["NDCG@10"] > state["best_value"]:
        state["best_value"], state["best_epoch"] = measures["NDCG@10"], state["epoch"]
        state["best"] = {name: value.detach().clone() for name, value in model.state_dict().items()}


def _train_and_validate(
    model: Method,
    task: Task,
    ranking: RankingLoss,
    optimizer: torch.optim.Optimizer,
    settings: Train,
    seed: int,
    epoch: int,
    team: Team,
) -> dict[str, float]:
    """Do one epoch and measure it."""
    began = time.monotonic()
    _draw_from(seed, epoch)
    # a cloze user is two sequences, and no batch is smaller than a user
    users = max(1, settings.batch_size // (2 if model.backbone.objective == "cloze" else 1))
    model.train()
    model.start_epoch(overview(model, task, seed, epoch, team))
    loss = _epoch(model, task, ranking, optimizer, users, (seed, epoch), team)
    if not np.isfinite(loss):
        raise InputError(
            f"the loss is {loss} in epoch {epoch + 1}: lower 'train.learning_rate' ({settings.learning_rate}) "
            "or check the embeddings"
        )
    measured = validate(model, task, team, epoch)
    return {"epoch": epoch + 1, "loss": loss, **measured, "seconds": time.monotonic() - began}


def _draw_from(*numbers: int) -> None:
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))


def _epoch(
    model: Method,
    task: Task,
    ranking: RankingLoss,
    optimizer: torch.optim.Optimizer,
    users_per_batch: int,
    chance: tuple[int, int],
    team: Team,
) -> float:
    """Pass once over all users in random batches; return the mean loss."""
    users = task.sequences.lengths.nonzero().squeeze(1)
    shuffled = users[torch.randperm(len(users)).to(users.device)]
    losses = []
    for step, batch in enumerate(shuffled.split(users_per_batch)):
        _draw_from(*chance, step + 1)  # the same in every process, whatever each has drawn before
        with torch.autocast(team.device.type, torch.bfloat16, enabled=ranking.settings.precision == "bfloat16"):
            loss = step_loss(model, task, ranking, batch, team)
        optimizer.zero_grad(set_to_none=True)
        if loss.requires_grad:
            loss.backward()
        team.add_gradients(model.parameters())
        optimizer.step()
        losses.append(loss.detach())
    return float(team.total(torch.stack(losses)).mean())
