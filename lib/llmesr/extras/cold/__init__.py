"""Stage 18: cold items, which training never saw, placed by their text. How well are they recommended?"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from llmesr import embed, retrieve
from llmesr.embed.prompts import item_prompts
from llmesr.evaluate.references import REFERENCES
from llmesr.evaluate.significance import compare
from llmesr.extras.cold.split import HALVES, Cases, ColdSplit, cold_split
from llmesr.metrics import METRICS
from llmesr.models.inputs import ModelInputs
from llmesr.models.registry import METHODS
from llmesr.models.scoring import Scores, rank
from llmesr.models.whitening import whiten
from llmesr.paths import replacing, results
from llmesr.prepare.dataset import Dataset
from llmesr.recommend import Recommender
from llmesr.runs.inputs import model_inputs
from llmesr.runs.matrix import matrix_runs
from llmesr.runs.pool import train_all
from llmesr.sequences import Sequences
from llmesr.settings import RecommendSettings, Settings

__all__ = ["Cases", "ColdResults", "ColdSplit", "cold_split", "run"]

CONTENT, WHITENED = "content", "content_whitened"
"""Rows of text alone: the nearest item of the history. The other rows are compared with the first one."""
CHOSEN_BY = "sampled"
"""The protocol under which placements are chosen, by NDCG@10."""


@dataclass(frozen=True)
class ColdResults:
    """What was measured.

    Attributes:
        metrics: as `metrics.csv`, with `placed`, how cold items were placed, and `half`; protocols are `new`, among
            cold items alone, `sampled` and `full`.
        chosen: method → the placement that was best on the validation half.
        tests: each method as placed best, beside `content`, on the test half.
    """

    metrics: pl.DataFrame
    chosen: dict[str, str]
    tests: pl.DataFrame


def run(settings: Settings, data: Dataset) -> ColdResults:
    """Hold items out, train every method with every seed without them, add them, and rank them.

    Writes `results/<dataset>/cold/metrics.csv`. The runs are those of a dataset of its own, `<dataset>-cold`.

    Raises:
        InputError: too few items are held out, a run failed, or the language model is missing.
    """
    split, chosen = cold_split(data, settings), settings.cold
    embeddings = embed.make(settings, split.data)  # the prompts of users do not name cold items
    inputs = model_inputs(embeddings, retrieve.find(settings, split.data, embeddings))
    prompts = item_prompts(split.cold_items, settings.embed.item_template, settings.embed.attribute_characters)
    new_texts = embed.encode(prompts, settings)
    own = {"methods": chosen.methods, "backbones": [chosen.backbone], "seeds": chosen.seeds}
    runs = matrix_runs(settings, split.data, inputs, **own)
    ranked = list(_rank_references(split, inputs, new_texts, settings.methods.dualmatch.whitening))
    for run, trained in zip(runs, train_all(runs, "cold"), strict=True):
        recommender = Recommender.of(run, trained)
        for placed, placement in placements(settings, run.method).items():
            served = recommender.settings.model_copy(update={"recommend": placement})
            extended = replace(recommender, settings=served).add_embedded(
                split.cold_items.drop("item", "group", "count", "tail"), new_texts
            )
            ranked += _rank(split, extended.scorer, {"method": run.method, "placed": placed, "seed": run.seed})
    measured = measure(pl.concat(ranked), data.name, chosen.backbone)
    with replacing(results(data.name, "cold") / "metrics.csv") as temporary:
        measured.metrics.write_csv(temporary, float_precision=6)
    return measured


def placements(settings: Settings, method: str) -> dict[str, RecommendSettings]:
    """List the placements that are tried for a method: what tables call each, and its `recommend` section.

    A method whose score is more than an inner product may ask how popular an item is.
    """
    chosen, counts = settings.cold, not METHODS[method].scores_by_product
    tried = {}
    for prior, count in itertools.product(chosen.priors, chosen.new_counts if counts else (0,)):
        placement = settings.recommend.model_copy(update={"prior": prior, "new_count": count})
        tried[f"{prior}, count {count}" if counts else prior] = placement
    return tried


class NearestOfHistory(Scores):
    """Score items by the largest cosine to an item of the history."""

    def __init__(self, vectors: np.ndarray) -> None:
        """Take the vectors (V, L) of items 1 … V."""
        self.unit = torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12))

    def __call__(self, histories: Sequences) -> Tensor:
        """Score all items for B histories: (B, V + 1)."""
        rows = [(self.unit[items - 1] @ self.unit.T).amax(0) for items in histories]
        return F.pad(torch.stack(rows), (1, 0))


def _rank_references(
    split: ColdSplit, inputs: ModelInputs, new_texts: np.ndarray, whitening: float
) -> Iterator[pl.DataFrame]:
    """Rank by what needs no training: popularity, co-occurrence, and text alone, as it is and whitened."""
    trained = inputs.item_embeddings[1:]
    texts = np.concatenate([trained, new_texts])
    references = {name: make(split.data.train, split.n_items) for name, make in REFERENCES.items()}
    references[CONTENT] = NearestOfHistory(texts)
    references[WHITENED] = NearestOfHistory(whiten(texts, power=whitening, of=trained))
    for name, scores in references.items():
        yield from _rank(split, scores, {"method": name, "placed": "", "seed": 0})


def _rank(split: ColdSplit, scores: Scores, about: dict[str, object]) -> Iterator[pl.DataFrame]:
    """Rank the cold item of every case of both halves, under three protocols."""
    cold = torch.arange(split.n_items + 1) > split.data.n_items
    for half, cases in split.cases.items():
        targets = cases.targets
        protocols = {
            "new": {"seen": cases.seen, "only": cold},
            "sampled": {"negatives": targets.negatives},
            "full": {"seen": cases.seen},
        }
        for protocol, against in protocols.items():
            ranks = rank(scores, cases.histories, targets.items, split.n_items, **against)
            labels = {**about, "half": half, "protocol": protocol}
            frame = pl.DataFrame({"user": targets.users, "rank": ranks})
            yield frame.select(*(pl.lit(value).alias(name) for name, value in labels.items()), pl.all())


def measure(ranks: pl.DataFrame, dataset: str, backbone: str) -> ColdResults:
    """Average, choose each method's placement on the validation half, and test it on the other.

    Args:
        ranks: `method, placed, seed, half, protocol, user, rank`.
        dataset: its name.
        backbone: that of the methods; rows without one stand beside them.
    """
    run = ["method", "placed", "seed", "half", "protocol"]
    rows = [
        {
            **dict(zip(run, key, strict=True)),
            "metric": f"{name}@10",
            "value": float(metric(part["rank"].to_numpy(), 10).mean()),
        }
        for key, part in ranks.group_by(run, maintain_order=True)
        for name, metric in METRICS.items()
    ]
    labels = {"dataset": dataset, "backbone": backbone}
    metrics = pl.DataFrame(rows).select(
        *(pl.lit(value).alias(name) for name, value in labels.items()),
        *run,
        pl.lit("new_item").alias("group"),
        "metric",
        "value",
    )
    validation = metrics.filter(half=HALVES[0], protocol=CHOSEN_BY, metric="NDCG@10")
    means = validation.group_by("method", "placed", maintain_order=True).agg(pl.col("value").mean())
    best = means.sort("value", descending=True, maintain_order=True).unique("method", keep="first", maintain_order=True)
    best = best.select("method", "placed")
    test = ranks.filter(pl.col("half") == HALVES[1]).join(best, on=["method", "placed"], maintain_order="left")
    test = test.with_columns(backbone=pl.lit(backbone), item_group=pl.lit("new_item"), user_group=pl.lit("everybody"))
    tests = compare(test, against=(CONTENT,)).filter(group="overall")
    return ColdResults(metrics, dict(best.iter_rows()), tests)
