"""Stage 05: the only reader of the test split. Ranks → metrics by group, for all runs, on the same negatives."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from llmesr.devices import pick_device
from llmesr.evaluate.groups import families, recombine
from llmesr.evaluate.references import REFERENCES, UNTRAINED
from llmesr.evaluate.significance import compare
from llmesr.metrics import METRICS
from llmesr.models.scoring import Scorer, Scores, rank
from llmesr.paths import artifact, replacing, results
from llmesr.prepare.dataset import Dataset, Targets, read_frame, save_frame, save_json, sequences, targets
from llmesr.prepare.split import draw_negatives
from llmesr.runs.pool import train_all
from llmesr.runs.store import Run, TrainedRun
from llmesr.sequences import Sequences
from llmesr.settings import Settings

PROTOCOLS = ("sampled", "full")


@dataclass(frozen=True)
class TestSplit:
    """What is predicted at test time.

    Attributes:
        inputs: what is known of each user before the test item, on the device.
        targets: the test item of each user and its fixed negatives.
    """

    inputs: Sequences
    targets: Targets


@dataclass(frozen=True)
class Ranked:
    """A run and its ranks: protocol → (n,), one a test case."""

    backbone: str
    method: str
    seed: int
    ranks: dict[str, np.ndarray]
    costs: dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """The published frames `metrics.csv`, `timings.csv` and `significance.csv`, and each user's ranks."""

    metrics: pl.DataFrame
    timings: pl.DataFrame
    significance: pl.DataFrame
    ranks: pl.DataFrame


def run(settings: Settings, data: Dataset, runs: Sequence[Run]) -> Evaluation:
    """Do the whole stage: evaluate the references and all runs, write `results/<dataset>/evaluate/` and the ranks.

    Runs that the store lacks are trained.
    """
    split = read_test_split(data, pick_device(settings.train.device))
    ranked = [rank_reference(name, split, data, settings) for name in settings.evaluate.references]
    ranked += [rank_run(trained, split, data, settings) for trained in train_all(runs)]
    evaluation = frames(ranked, split, data, settings)
    folder = results(data.name, "evaluate")
    for part in ("metrics", "timings", "significance"):
        with replacing(folder / f"{part}.csv") as temporary:
            getattr(evaluation, part).write_csv(temporary, float_precision=6)
    save_json(summary(evaluation.metrics), folder / "summary.json")
    save_frame(evaluation.ranks, artifact(data.name, "evaluate") / "ranks.parquet")
    return evaluation


def read_test_split(data: Dataset, device: torch.device) -> TestSplit:
    """Read the test split: the one place where it is read."""
    folder = artifact(data.name, "prepare")
    held_out = targets(read_frame(folder / "test.parquet", "prepare"))
    known = sequences(read_frame(folder / "known.parquet", "prepare"), data.n_users)
    return TestSplit(known.to(device), held_out)


def rank_run(trained: TrainedRun, split: TestSplit, data: Dataset, settings: Settings) -> Ranked:
    """Rank the test items of all users with a trained run."""
    about, began = trained.account, time.monotonic()
    method = trained.method.to(split.inputs.items.device)
    scorer = Scorer.of(method, data.n_items, settings.data.max_length)
    ranks = rank_scores(scorer, split, data, settings, about["seed"])
    costs = {**about, "evaluate_seconds": time.monotonic() - began}
    return Ranked(about["backbone"], about["method"], about["seed"], ranks, costs)


def rank_reference(name: str, split: TestSplit, data: Dataset, settings: Settings) -> Ranked:
    """Rank the test items of all users by a reference's scores."""
    began = time.monotonic()
    ranks = rank_scores(REFERENCES[name](data.train, data.n_items), split, data, settings)
    return Ranked(UNTRAINED, name, 0, ranks, {"evaluate_seconds": time.monotonic() - began})


def rank_scores(
    scores: Scores, split: TestSplit, data: Dataset, settings: Settings, seed: int | None = None
) -> dict[str, np.ndarray]:
    """Rank the test items of all users under both protocols; the seed is that of a run, for negatives of its own."""
    targets = split.targets
    users = torch.tensor(targets.users, dtype=torch.int64, device=split.inputs.items.device)
    histories, negatives = split.inputs.take(users), targets.negatives
    if settings.evaluate.redraw_negatives and seed is not None:
        negatives = _redrawn(split, data, settings, seed)
    seen = histories if settings.evaluate.exclude_seen else None
    return {
        "sampled": rank(scores, histories, targets.items, data.n_items, negatives=negatives),
        "full": rank(scores, histories, targets.items, data.n_items, seen=seen),
    }


def _redrawn(split: TestSplit, data: Dataset, settings: Settings, seed: int) -> np.ndarray:
    """Draw a run's own negatives, as the authors' code does."""
    seen = [np.unique(items.cpu().numpy()) for items in split.inputs]
    for user, item in zip(split.targets.users, split.targets.items, strict=True):
        seen[user] = np.union1d(seen[user], item)
    rng = np.random.default_rng([settings.prepare.seed, seed])
    return draw_negatives(split.targets.users, seen, data.n_items, settings.prepare.negatives, rng)


def frames(ranked: list[Ranked], split: TestSplit, data: Dataset, settings: Settings) -> Evaluation:
    """Lay out ranks as tidy frames, in the order of the runs."""
    measured, times, by_user = [], [], []
    grouped = families(split.targets, data)
    cases = {"user": split.targets.users, "item": split.targets.items}
    cases |= {"item_group": grouped["item"], "user_group": grouped["user"]}
    for one in ranked:
        run = {"backbone": one.backbone, "method": one.method, "seed": one.seed}
        times += [{"dataset": data.name, **run, **row} for row in _timings(one.costs)]
        for protocol, ranks in one.ranks.items():
            rows = measure(ranks, grouped, settings)
            measured += [{"dataset": data.name, **run, "protocol": protocol, **row} for row in rows]
            labels = [pl.lit(value).alias(name) for name, value in {**run, "protocol": protocol}.items()]
            by_user.append(pl.DataFrame({**cases, "rank": ranks.astype(np.float32)}).select(*labels, pl.all()))
    users = pl.concat(by_user)
    tests = compare(users, cutoffs=settings.evaluate.top_k)
    tests = tests.select(pl.lit(data.name).alias("dataset"), pl.all())
    return Evaluation(pl.DataFrame(measured), pl.DataFrame(times), tests, users)


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


def summary(metrics: pl.DataFrame) -> dict[str, dict[str, float]]:
    """Condense the metrics for `dvc metrics show`, a row a backbone and method.

    Returns:
        for each `<backbone>-<method>` the means over seeds of NDCG@10 overall and on the tail, by protocol.
    """
    kept = metrics.filter(pl.col("group").is_in(["overall", "tail_item", "tail_user"]), metric="NDCG@10")
    means = kept.group_by(["backbone", "method", "protocol", "group"], maintain_order=True).agg(pl.col("value").mean())
    rows: dict[str, dict[str, float]] = {}
    for backbone, method, protocol, group, value in means.iter_rows():
        rows.setdefault(f"{backbone}-{method}", {})[f"{protocol} {group}"] = round(value, 4)
    return rows
