"""Stage 18: items that training never saw, placed by their text. How well are they recommended?"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch

from llmesr import embed, retrieve, train
from llmesr.cold.hold_out import HALVES, Cases, Held, hold_out
from llmesr.embed import Embeddings
from llmesr.embed.prompts import item_prompts
from llmesr.evaluate.references import REFERENCES
from llmesr.evaluate.significance import compare
from llmesr.metrics import METRICS
from llmesr.models.ragged import Ragged
from llmesr.models.scoring import blocks, rank_among, rank_among_all
from llmesr.models.whitening import whiten
from llmesr.paths import replacing, results
from llmesr.prepare.dataset import Dataset
from llmesr.recommend import Recommender
from llmesr.settings import Settings

__all__ = ["Cases", "Found", "Held", "hold_out", "run"]

CONTENT = "content"
"""What the other rows are compared with: the nearest item of the history, by text alone."""
CHOSEN_BY = "sampled100"
"""The protocol under which placements are chosen, by NDCG@10."""
Scorer = Callable[[Ragged], torch.Tensor]
"""B histories → (B, V + 1) scores."""


@dataclass(frozen=True)
class Found:
    """What was measured.

    Attributes:
        metrics: as `metrics.csv`, with `placed`, how new items were placed, and `half`; protocols are `new`, among new
            items alone, `sampled100` and `full`.
        chosen: method → the placement that was best on the validation half.
        tests: each method as placed best, beside `content`, on the test half.
    """

    metrics: pl.DataFrame
    chosen: dict[str, str]
    tests: pl.DataFrame


def run(settings: Settings, data: Dataset) -> Found:
    """Hold items out, train every method with every seed without them, add them, and rank them.

    Writes `results/<dataset>/cold.csv` and the runs, under `artifacts/<dataset>-cold/`.

    Raises:
        InputError: too few items are held out, or the language model is missing.
    """
    held = hold_out(data, settings)
    embeddings = embed.make(settings, held.data)  # users are told without what is held out
    similar = retrieve.find(settings, held.data, embeddings)
    new_texts = item_prompts(held.items, settings.embed.item_template, settings.embed.attribute_characters)
    new = embed.encode(new_texts, settings)  # without what users wrote, who cannot have
    chosen = settings.cold
    ranked = list(_references(held, embeddings, new, settings.methods.dualmatch.whitening))
    for method, seed in itertools.product(chosen.methods, chosen.seeds):
        trained = train.run(settings, held.data, embeddings, similar, chosen.backbone, method, seed)
        recommender = Recommender.of(settings, held.data, embeddings.items[1:], trained)
        for prior, count in itertools.product(chosen.priors, chosen.new_counts if method == "dualmatch" else (0,)):
            own = settings.recommend.model_copy(update={"prior": prior, "new_count": count})
            asked = replace(recommender, settings=settings.model_copy(update={"recommend": own}))
            grown = asked.add_embedded(held.items.drop("item", "group", "count", "tail"), new)
            placed = prior if method != "dualmatch" else f"{prior}, count {count}"
            ranked += _ranked(held, grown.scores, {"method": method, "placed": placed, "seed": seed})
    found = _measured(pl.concat(ranked), data.name, chosen.backbone)
    with replacing(results(data.name) / "cold.csv") as temporary:
        found.metrics.write_csv(temporary, float_precision=6)
    return found


def _references(held: Held, embeddings: Embeddings, new: np.ndarray, whitening: float) -> Iterator[pl.DataFrame]:
    """Rank by what needs no training: popularity, who has both, and text alone, as it is and whitened."""
    for name, reference in REFERENCES.items():
        score = reference(held.data.train, held.n_items)
        yield from _ranked(held, lambda asked, score=score: torch.from_numpy(score(asked)), _untrained(name))
    known = embeddings.items[1:]
    texts = np.concatenate([known, new])
    for name, vectors in ((CONTENT, texts), ("content_whitened", whiten(texts, power=whitening, of=known))):
        yield from _ranked(held, nearest_of_history(vectors), _untrained(name))


def _untrained(name: str) -> dict[str, object]:
    return {"method": name, "placed": "", "seed": 0}


def nearest_of_history(vectors: np.ndarray) -> Scorer:
    """Score items by the largest cosine to an item of the history; vectors are (V, L) of items 1..V."""
    unit = torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12))

    def score(histories: Ragged) -> torch.Tensor:
        rows = [(unit[part - 1] @ unit.T).amax(0) for part in histories.items.split(histories.lengths.tolist())]
        return torch.nn.functional.pad(torch.stack(rows), (1, 0))

    return score


def _ranked(held: Held, score: Scorer, about: dict[str, object]) -> Iterator[pl.DataFrame]:
    """Rank the new item of every case of both halves, under three protocols."""
    for half, cases in held.cases.items():
        ranks: dict[str, list[torch.Tensor]] = {"new": [], "sampled100": [], "full": []}
        everyone = torch.arange(len(cases.targets.users))
        for block in blocks(len(everyone), held.n_items + 1):
            scores = score(cases.histories.take(everyone[block]))
            had = cases.had.take(everyone[block])
            target = torch.tensor(cases.targets.items[block], dtype=torch.int64)[:, None]
            negatives = torch.tensor(cases.targets.negatives[block], dtype=torch.int64)
            own = scores.gather(1, target)
            ranks["sampled100"].append(rank_among(own, scores.gather(1, negatives), negatives > 0))
            ranks["full"].append(rank_among_all(scores, target, had))
            old = scores.clone()
            old[:, : held.data.n_items + 1] = -torch.inf  # only new ones are left to compete
            ranks["new"].append(rank_among_all(old, target, had))
        for protocol, parts in ranks.items():
            labels = {**about, "half": half, "protocol": protocol}
            columns = {"user": cases.targets.users, "rank": torch.cat(parts).numpy()}
            yield pl.DataFrame(columns).select(*(pl.lit(value).alias(name) for name, value in labels.items()), pl.all())


def _measured(ranks: pl.DataFrame, dataset: str, backbone: str) -> Found:
    """Average, choose each method's placement on the validation half, and test it on the other."""
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
    metrics = pl.DataFrame(rows).select(
        pl.lit(dataset).alias("dataset"),
        pl.lit(backbone).alias("backbone"),
        *run,
        pl.lit("new_item").alias("group"),
        "metric",
        "value",
    )
    best = metrics.filter(half=HALVES[0], protocol=CHOSEN_BY, metric="NDCG@10")
    means = best.group_by("method", "placed", maintain_order=True).agg(pl.col("value").mean())
    top = means.sort("value", descending=True, maintain_order=True).unique("method", keep="first", maintain_order=True)
    chosen = dict(top.select("method", "placed").iter_rows())
    asked = ranks.filter(pl.col("half") == HALVES[1]).join(
        top.select("method", "placed"), on=["method", "placed"], maintain_order="left"
    )
    asked = asked.with_columns(backbone=pl.lit(backbone), item_group=pl.lit("new_item"), user_group=pl.lit("everybody"))
    return Found(metrics, chosen, compare(asked, against=(CONTENT,)).filter(group="overall"))
