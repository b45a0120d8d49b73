"""The training loop: Adam, early stopping on validation NDCG@10, resume after a kill."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import trange

from llmesr.errors import InputError
from llmesr.metrics import hit_rate, ndcg
from llmesr.models.methods import Recommender
from llmesr.models.scoring import item_table, represent, sampled_ranks
from llmesr.models.sequences import PaddedSequences
from llmesr.prepare.dataset import Targets
from llmesr.settings import Train
from llmesr.train import checkpoint
from llmesr.train.batches import user_batches
from llmesr.train.losses import NegativeSampler, bce
from llmesr.train.objectives import make_batch

CHECKPOINT_SECONDS = 15


@dataclass(frozen=True)
class Fitted:
    """What training gives: the history, an entry an epoch, and the epoch whose weights the model now has."""

    history: list[dict[str, float]]
    best_epoch: int


def train_step(
    model: Recommender, sequences: PaddedSequences, sampler: NegativeSampler, users: Tensor, negatives: int
) -> Tensor:
    """Compute one batch's loss L = L_rank + the method's extra loss (Eq. 10)."""
    batch = make_batch(model.backbone, sequences, users)
    states = model.states(batch.inputs)  # (B, T, W)
    row, column = batch.targets.nonzero(as_tuple=True)
    loss = states.new_zeros(())
    if len(row):
        drawn = sampler.draw(batch.users[row], negatives)
        positives = model.item_vectors(batch.targets[row, column])
        loss = bce(states[row, column], positives, model.item_vectors(drawn))
    taught = batch.represents.nonzero().squeeze(1)
    extra = model.extra_loss(batch.users[taught], states[taught, batch.last[taught]])
    return loss if extra is None else loss + extra


def validate(model: Recommender, sequences: PaddedSequences, targets: Targets) -> dict[str, float]:
    """Rank the validation items against their negatives: NDCG@10 and HR@10."""
    users = torch.from_numpy(targets.users).long().to(sequences.items.device)
    states = represent(model, sequences, users)
    table = item_table(model, sequences.mask_id - 1)
    ranks = sampled_ranks(states, table, targets.items, targets.negatives)
    return {"NDCG@10": float(ndcg(ranks, 10).mean()), "HR@10": float(hit_rate(ranks, 10).mean())}


def fit(
    model: Recommender,
    sequences: PaddedSequences,
    targets: Callable[[int], Targets],
    settings: Train,
    seed: int,
    resume: Path,
    identity: str,
    report: Callable[[dict[str, float]], None],
) -> Fitted:
    """Train until validation NDCG@10 has not risen for `patience` epochs, then restore the best weights.

    Every epoch draws its chance from (seed, epoch) alone, so a resumed run ends as an uninterrupted one does.

    Args:
        model: on the device of `sequences`.
        sequences: the training items.
        targets: gives the validation targets of an epoch (the same ones unless negatives are redrawn).
        settings: of the training.
        seed: of the run.
        resume: the checkpoint file.
        identity: fingerprint of the run; a checkpoint with another one is ignored.
        report: is called with the measures of every epoch.

    Raises:
        InputError: the loss is no longer finite, or the checkpoint is damaged.
    """
    sampler = NegativeSampler(sequences.items, sequences.offsets, sequences.mask_id - 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    state = checkpoint.load(resume, identity) or _fresh(identity)
    if state["epoch"]:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    for past in state["history"]:
        report(past)
    saved = time.monotonic()
    users_per_batch = settings.batch_size // (2 if model.backbone.objective == "cloze" else 1)
    bar = trange(state["epoch"], settings.epochs, initial=state["epoch"], total=settings.epochs, unit="epoch")
    for epoch in bar:
        if epoch - state["best_epoch"] >= settings.patience:
            break
        began = time.monotonic()
        torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
        losses = _epoch(model, sequences, sampler, optimizer, users_per_batch, settings.negatives)
        if not np.isfinite(losses):
            raise InputError(
                f"the loss is {losses} in epoch {epoch + 1}: lower 'train.learning_rate' ({settings.learning_rate}) "
                "or check the embeddings"
            )
        measures = {"epoch": epoch + 1, "loss": losses, **validate(model, sequences, targets(epoch))}
        measures["seconds"] = time.monotonic() - began
        state["history"].append(measures)
        report(measures)
        bar.set_postfix({"loss": f"{losses:.3f}", "NDCG@10": f"{measures['NDCG@10']:.4f}"})
        if measures["NDCG@10"] > state["best_value"]:
            state["best_value"], state["best_epoch"] = measures["NDCG@10"], epoch + 1
            state["best"] = {name: value.detach().clone() for name, value in model.state_dict().items()}
        state["epoch"] = epoch + 1
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            checkpoint.save(resume, {**state, "model": model.state_dict(), "optimizer": optimizer.state_dict()})
            saved = time.monotonic()
    model.load_state_dict(state["best"])
    resume.unlink(missing_ok=True)
    return Fitted(state["history"], state["best_epoch"])


def _epoch(
    model: Recommender,
    sequences: PaddedSequences,
    sampler: NegativeSampler,
    optimizer: torch.optim.Optimizer,
    users_per_batch: int,
    negatives: int,
) -> float:
    """Pass once over all users; return the mean loss."""
    model.train()
    model.start_epoch(lambda users: represent(model, sequences, users, hide_last=True))
    losses = []
    for users in user_batches(sequences.lengths, users_per_batch):
        loss = train_step(model, sequences, sampler, users, negatives)
        optimizer.zero_grad(set_to_none=True)
        if loss.requires_grad:
            loss.backward()
            optimizer.step()
        losses.append(loss.detach())
    return float(torch.stack(losses).mean())


def _fresh(identity: str) -> dict[str, Any]:
    return {"fingerprint": identity, "epoch": 0, "best_epoch": 0, "best_value": -1.0, "best": {}, "history": []}
