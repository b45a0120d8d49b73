"""Stage 05: the only reader of the test split. Ranks → metrics by group, for all runs, on the same negatives."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from llmesr import embed, retrieve, train
from llmesr.devices import pick_device
from llmesr.evaluate.groups import families, recombine
from llmesr.evaluate.references import REFERENCES, Scorer
from llmesr.evaluate.significance import compare
from llmesr.metrics import METRICS
from llmesr.models.ragged import Ragged
from llmesr.models.scoring import (
    blocks,
    full_ranks,
    item_table,
    rank_among,
    rank_among_all,
    represent,
    rescorer,
    sampled_ranks,
)
from llmesr.paths import artifact, replacing, results
from llmesr.prepare.dataset import Dataset, Targets, read_frame, save_frame, save_json, sequences, targets
from llmesr.prepare.split import draw_negatives
from llmesr.published import UNTRAINED
from llmesr.settings import Settings


@dataclass(frozen=True)
class TestSplit:
    """What is asked at test time.

    Attributes:
        inputs: what is known of each user before the test item, on the device.
        targets: the test item of each user and its fixed negatives.
    """

    inputs: Ragged
    targets: Targets


@dataclass(frozen=True)
class Evaluation:
    """The published frames, `metrics.csv`, `timings.csv` and `significance.csv`, and each user's ranks."""

    metrics: pl.DataFrame
    timings: pl.DataFrame
    significance: pl.DataFrame
    ranks: pl.DataFrame


@dataclass(frozen=True)
class Judged:
    """A run and its ranks: protocol → (n,), one a test case."""

    backbone: str
    method: str
    seed: int
    ranks: dict[str, np.ndarray]
    costs: dict[str, float]


def run(settings: Settings, data: Dataset) -> Evaluation:
    """Evaluate every run of the matrix once; write `results/<dataset>/` and the ranks.

    Raises:
        InputError: a run is missing or damaged.
    """
    device = pick_device(settings.train.device)
    split = read_test_split(data, device)
    embeddings, similar = embed.load(data.name), retrieve.load(data.name)
    judged = []
    for name in settings.evaluate.references:
        began = time.monotonic()
        ranks = rank_reference(REFERENCES[name](data.train, data.n_items), split, data, settings)
        costs = {"evaluate_seconds": time.monotonic() - began}
        judged.append(Judged(UNTRAINED, name, 0, dict(ranks), costs))
    for backbone, method, seed in settings.matrix.runs():
        trained = train.load(settings, embeddings, similar, backbone, method, seed)
        judged.append(judge(trained, split, data, settings))
    found = frames(judged, split, data, settings)
    _publish(found, data.name)
    return found


def judge(trained: train.Run, split: TestSplit, data: Dataset, settings: Settings) -> Judged:
    """Rank the test items of all users with a trained run."""
    run = trained.account
    model = trained.model.to(split.inputs.items.device)
    began = time.monotonic()
    ranks = dict(rank(model, split, data, settings, run["seed"]))
    return Judged(
        run["backbone"], run["method"], run["seed"], ranks, {**run, "evaluate_seconds": time.monotonic() - began}
    )


def frames(judged: list[Judged], split: TestSplit, data: Dataset, settings: Settings) -> Evaluation:
    """Lay out what was found as tidy frames, in the order of the runs."""
    measured, times, ranked = [], [], []
    grouped = families(split.targets, data)
    cases = {"user": split.targets.users, "item_group": grouped["item"], "user_group": grouped["user"]}
    for one in judged:
        run = {"backbone": one.backbone, "method": one.method, "seed": one.seed}
        times += [{"dataset": data.name, **run, **row} for row in _timings(one.costs)]
        for protocol, ranks in one.ranks.items():
            rows = measure(ranks, grouped, settings)
            measured += [{"dataset": data.name, **run, "protocol": protocol, **row} for row in rows]
            users = pl.DataFrame({**cases, "rank": ranks.astype(np.float32)})
            labels = [pl.lit(value).alias(name) for name, value in {**run, "protocol": protocol}.items()]
            ranked.append(users.select(*labels, pl.all()))
    users = pl.concat(ranked)
    tests = compare(users, cutoffs=settings.evaluate.top_k)
    tests = tests.select(pl.lit(data.name).alias("dataset"), pl.all())
    return Evaluation(pl.DataFrame(measured), pl.DataFrame(times), tests, users)


def read_test_split(data: Dataset, device: torch.device) -> TestSplit:
    """Read the test split: the one place where it is read."""
    folder = artifact(data.name, "prepare")
    held_out = targets(read_frame(folder / "test.parquet", "prepare"))
    known = sequences(read_frame(folder / "known.parquet", "prepare"), data.n_users)
    return TestSplit(Ragged.of(known.items, known.lengths, device), held_out)


def rank(
    model: train.Method, split: TestSplit, data: Dataset, settings: Settings, seed: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Rank the test items of all users under both protocols.

    Yields:
        the protocol's name and the (n,) ranks.
    """
    asked = split.targets
    users = torch.tensor(asked.users, dtype=torch.int64, device=split.inputs.items.device)
    states = represent(model, split.inputs, users, data.n_items, settings.model.max_length)
    table = item_table(model, data.n_items)
    negatives = _redrawn(split, data, settings, seed) if settings.evaluate.redraw_negatives else asked.negatives
    histories = split.inputs.take(users)
    rescore = rescorer(model, histories)
    yield "sampled100", sampled_ranks(states, table, asked.items, negatives, rescore)
    yield "full", full_ranks(states, table, asked.items, histories if settings.evaluate.exclude_seen else None, rescore)


def rank_reference(
    score: Scorer, split: TestSplit, data: Dataset, settings: Settings
) -> Iterator[tuple[str, np.ndarray]]:
    """Rank the test items of all users by a reference's scores, under both protocols, against the fixed negatives.

    Yields:
        the protocol's name and the (n,) ranks.
    """
    found: dict[str, list[torch.Tensor]] = {"sampled100": [], "full": []}
    for block in blocks(len(split.targets.users), data.n_items + 1):
        users = torch.tensor(split.targets.users[block], dtype=torch.int64, device=split.inputs.items.device)
        had = split.inputs.take(users)
        scores = torch.from_numpy(score(had)).to(users.device)
        target = torch.tensor(split.targets.items[block], dtype=torch.int64, device=users.device)[:, None]
        negatives = torch.tensor(split.targets.negatives[block], dtype=torch.int64, device=users.device)
        own = scores.gather(1, target)
        found["sampled100"].append(rank_among(own, scores.gather(1, negatives), negatives > 0))
        seen = had if settings.evaluate.exclude_seen else None
        found["full"].append(rank_among_all(scores, target, seen))
    yield from ((protocol, torch.cat(parts).cpu().numpy()) for protocol, parts in found.items())


def measure(ranks: np.ndarray, grouped: dict[str, np.ndarray], settings: Settings) -> list[dict[str, object]]:
    """Average HR and NDCG over all users and over each group.

    Args:
        ranks: (n,) one a test case.
        grouped: for each family of groups the (n,) labels of the test cases.
        settings: `evaluate.top_k`.

    Returns:
        rows `group`, `metric`, `value`; the metric `users` counts the group.

    Raises:
        AssertionError: the groups of a family, weighted by size, do not recombine to the overall mean.
    """
    rows = []
    names = [(f"{name}@{k}", function(ranks, k)) for name, function in METRICS.items() for k in settings.evaluate.top_k]
    for metric, values in names:
        recombine(values, grouped)
        rows.append({"group": "overall", "metric": metric, "value": float(values.mean())})
        for labels in grouped.values():
            rows += [
                {"group": str(label), "metric": metric, "value": float(values[labels == label].mean())}
                for label in np.unique(labels)
            ]
    rows.append({"group": "overall", "metric": "users", "value": float(len(ranks))})
    for labels in grouped.values():
        rows += [
            {"group": str(label), "metric": "users", "value": float(count)}
            for label, count in zip(*np.unique(labels, return_counts=True), strict=True)
        ]
    return rows


def _redrawn(split: TestSplit, data: Dataset, settings: Settings, seed: int) -> np.ndarray:
    """Draw a run's own negatives, as the authors' code does."""
    whole = split.inputs
    seen = [np.unique(part.numpy()) for part in whole.items.cpu().split(whole.lengths.cpu().tolist())]
    for user, item in zip(split.targets.users, split.targets.items, strict=True):
        seen[user] = np.union1d(seen[user], item)
    rng = np.random.default_rng([settings.prepare.seed, seed])
    return draw_negatives(split.targets.users, seen, data.n_items, settings.prepare.negatives, rng)


UNITS = {
    "epochs": "count",
    "best_epoch": "count",
    "seconds_per_epoch": "s",
    "train_seconds": "s",
    "evaluate_seconds": "s",
    "peak_rss_mb": "MB",
    "parameters": "count",
}


def _timings(costs: dict[str, float]) -> list[dict[str, object]]:
    return [{"what": what, "value": float(costs[what]), "unit": unit} for what, unit in UNITS.items() if what in costs]


def _publish(found: Evaluation, name: str) -> None:
    folder = results(name)
    for part in ("metrics", "timings", "significance"):
        with replacing(folder / f"{part}.csv") as temporary:
            getattr(found, part).write_csv(temporary, float_precision=6)
    for run, values in summary(found.metrics).items():
        save_json(values, folder / "summary" / f"{run}.json")
    save_frame(found.ranks, artifact(name, "evaluate") / "ranks.parquet")


def summary(metrics: pl.DataFrame) -> dict[str, dict[str, float]]:
    """Condense the metrics for `dvc metrics show`, a row a backbone and method.

    Returns:
        for each `<backbone>-<method>` the means over seeds of NDCG@10 overall and on the tail, by protocol.
    """
    kept = metrics.filter(pl.col("group").is_in(["overall", "tail_item", "tail_user"]), metric="NDCG@10")
    means = kept.group_by(["backbone", "method", "protocol", "group"], maintain_order=True).agg(pl.col("value").mean())
    found: dict[str, dict[str, float]] = {}
    for backbone, method, protocol, group, value in means.iter_rows():
        found.setdefault(f"{backbone}-{method}", {})[f"{protocol} {group}"] = round(value, 4)
    return found
