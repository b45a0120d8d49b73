"""Stage 19: do the lists narrow, and what can be done about it? Measured on validation; the test split has no part."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from llmesr import train
from llmesr.diversity import bandits, measures
from llmesr.diversity.measures import Catalogue, categories_of
from llmesr.diversity.rerank import RERANKERS, Candidates, candidates
from llmesr.embed import Embeddings
from llmesr.embed.prompts import NOT_ATTRIBUTES
from llmesr.errors import InputError
from llmesr.evaluate.references import REFERENCES
from llmesr.metrics import hit_rate, ndcg
from llmesr.models.methods import Method
from llmesr.models.ragged import Ragged
from llmesr.models.scoring import item_table, represent, rescorer, users_at_once, without
from llmesr.paths import replacing, results
from llmesr.prepare.dataset import Dataset
from llmesr.published import UNTRAINED
from llmesr.retrieve import Neighbours
from llmesr.settings import Settings

BLOCK = 256
"""Users ranked at once: the vectors of all their candidates are held."""
BY_CATEGORY = ("category diversity", "miscalibration")
"""Measures that there are only with categories."""
PLAIN = "none"
"""Stands in the column `reranker` of lists as they are; λ is 1 then."""

Score = Callable[[Tensor], Tensor]
"""Rows of the asked users (b,) → scores (b, V + 1)."""


@dataclass(frozen=True)
class Asked:
    """Who is asked: the users with a validation item.

    Attributes:
        catalogue: what is known of items.
        users: (n,) their rows.
        answers: (n,) their validation items.
        histories: their training items.
        shares: (n, C) mean category shares of each history.
        profiles: (n,) mean count of each history's items.
        groups: name → (n,) bool.
    """

    catalogue: Catalogue
    users: np.ndarray
    answers: np.ndarray
    histories: Ragged
    shares: np.ndarray
    profiles: np.ndarray
    groups: dict[str, np.ndarray]


def ask(settings: Settings, data: Dataset, embeddings: Embeddings) -> Asked:
    """Gather what lists are measured by.

    Raises:
        InputError: the items have no such column of categories.
    """
    chosen = settings.diversity
    attributes = [column for column in data.items.columns if column not in NOT_ATTRIBUTES]
    if chosen.category is not None and chosen.category not in attributes:
        raise InputError(
            f"key 'diversity.category' is '{chosen.category}', which is not among the items' attributes "
            f"({', '.join(attributes) or 'there are none'}): name one of them, or null"
        )
    counts = np.bincount(data.train.items, minlength=data.n_items + 1)
    length = np.linalg.norm(embeddings.items, axis=1, keepdims=True).clip(min=1e-12)
    tail = np.append(False, (data.items["tail"] == "tail_item").to_numpy())
    kinds = pl.repeat("any", data.n_items, eager=True) if chosen.category is None else data.items[chosen.category]
    shares = categories_of(kinds, chosen.separator)
    catalogue = Catalogue(embeddings.items / length, shares, counts, tail, data.n_users)

    users = torch.from_numpy(data.validation.users.astype(np.int64))
    histories = Ragged.of(data.train.items, data.train.lengths).take(users)
    row, items = histories.row.numpy(), histories.items.numpy()
    lengths = histories.lengths.numpy()
    mean_shares = np.zeros((len(users), shares.shape[1]), np.float32)
    np.add.at(mean_shares, row, shares[items])
    profiles = np.bincount(row, counts[items], len(users)) / lengths
    labels = data.users["tail"].to_numpy()[data.validation.users]
    groups = {"overall": np.ones(len(users), bool)} | {str(name): labels == name for name in np.unique(labels)}
    return Asked(
        catalogue,
        data.validation.users,
        data.validation.items,
        histories,
        mean_shares / lengths[:, None],
        profiles,
        groups,
    )


def run(settings: Settings, data: Dataset, embeddings: Embeddings, similar: Neighbours) -> pl.DataFrame:
    """Measure the lists of every method, and of some of them re-ranked; write `results/<dataset>/diversity.csv`.

    Returns:
        `dataset, backbone, method, seed, reranker, trade, group, metric, value`.

    Raises:
        InputError: a run is missing, or there is no such column of categories.
    """
    asked, chosen, rows = ask(settings, data, embeddings), settings.diversity, []
    for backbone, method, seed, score in scorers(settings, data, embeddings, similar, asked):
        variants = [(PLAIN, 1.0)]
        if method in chosen.reranked:
            known = [name for name in RERANKERS if chosen.category or name != "calibrated"]
            variants += [(name, trade) for name in known for trade in chosen.trades]
        for (reranker, trade), lists in _lists(score, asked, variants, chosen.k, chosen.candidates).items():
            about = {"dataset": data.name, "backbone": backbone, "method": method, "seed": seed}
            measured = measure(lists, asked)
            measured = [row for row in measured if chosen.category or row["metric"] not in BY_CATEGORY]
            rows += [{**about, "reranker": reranker, "trade": trade, **row} for row in measured]
    found = pl.DataFrame(rows)
    with replacing(results(data.name) / "diversity.csv") as temporary:
        found.write_csv(temporary, float_precision=6)
    return found


def explore(settings: Settings, data: Dataset, embeddings: Embeddings, similar: Neighbours) -> pl.DataFrame:
    """Simulate a shop that learns from clicks; write `results/<dataset>/exploration.csv`.

    It starts with what the first of `diversity.methods` believes; the users want what the last one says, of another
    seed where there are several.

    Returns:
        `dataset, policy, seed, round, regret, clicks, coverage`.

    Raises:
        InputError: a run is missing.
    """
    asked, chosen = ask(settings, data, embeddings), settings.diversity
    ends = ((chosen.methods[0], chosen.seeds[0]), (chosen.methods[-1], chosen.seeds[-1]))
    believed, wanted = (
        score_of(
            train.load(settings, embeddings, similar, chosen.backbone, *run).model,
            data,
            asked,
            settings.model.max_length,
        )
        for run in ends
    )
    least = data.n_items - int(asked.histories.lengths.max())  # candidates that are new to everybody
    n, worlds = max(1, min(chosen.candidates, least)), []
    for rows in torch.arange(len(asked.users)).split(_block(asked)):
        found = shortlist(believed, rows, asked, n, n)
        truth = np.take_along_axis(wanted(rows).numpy(), found.items, 1)
        worlds.append(bandits.world(found, truth, data.n_items))
    around = bandits.together(worlds)
    frames = []
    for policy, strength in (("greedy", 0.0), ("epsilon", chosen.epsilon), ("ucb", chosen.ucb)):
        for seed in chosen.seeds:
            told = bandits.simulate(policy, strength, around, chosen.rounds, seed)
            labels = {"dataset": data.name, "policy": policy, "seed": seed}
            frames.append(told.select(*(pl.lit(value).alias(name) for name, value in labels.items()), pl.all()))
    shown = pl.concat(frames)
    with replacing(results(data.name) / "exploration.csv") as temporary:
        shown.write_csv(temporary, float_precision=6)
    return shown


def scorers(
    settings: Settings, data: Dataset, embeddings: Embeddings, similar: Neighbours, asked: Asked
) -> Iterator[tuple[str, str, int, Score]]:
    """Give each reference and each trained run, and how it scores the asked users."""
    chosen = settings.diversity
    for name, reference in REFERENCES.items():
        fitted = reference(data.train, data.n_items)

        def score(rows: Tensor, fitted: Callable = fitted) -> Tensor:
            return torch.from_numpy(fitted(asked.histories.take(rows)))

        yield UNTRAINED, name, 0, score
    for method in chosen.methods:
        for seed in chosen.seeds:
            model = train.load(settings, embeddings, similar, chosen.backbone, method, seed).model
            yield chosen.backbone, method, seed, score_of(model, data, asked, settings.model.max_length)


def score_of(model: Method, data: Dataset, asked: Asked, latest: int) -> Score:
    """Let a trained model score the asked users by their training items."""
    sequences = Ragged.of(data.train.items, data.train.lengths)
    states = represent(model, sequences, torch.from_numpy(asked.users.astype(np.int64)), data.n_items, latest)
    table, rescore = item_table(model, data.n_items), rescorer(model, asked.histories)

    @torch.no_grad()
    def score(rows: Tensor) -> Tensor:
        scores = states[rows] @ table.T
        return scores if rescore is None else rescore(scores, slice(int(rows[0]), int(rows[-1]) + 1))

    return score


def shortlist(score: Score, rows: Tensor, asked: Asked, n: int, k: int) -> Candidates:
    """Take the n best items of some of the asked users, in a row, that they have not had.

    Raises:
        InputError: a user has had so many that no k are left.
    """
    scores = without(score(rows).clone(), asked.histories.take(rows))
    left = scores.isfinite().sum(1)
    if int(left.min()) < k:
        raise InputError(
            f"a user has had all items but {int(left.min())}, and lists hold {k}: lower 'diversity.k' to that"
        )
    return candidates(scores.numpy(), min(n, scores.shape[1] - 1), asked.shares[rows.numpy()])


def _lists(
    score: Score, asked: Asked, variants: list[tuple[str, float]], k: int, n: int
) -> dict[tuple[str, float], np.ndarray]:
    """Make everybody's lists (n, k) of each variant."""
    found: dict[tuple[str, float], list[np.ndarray]] = {variant: [] for variant in variants}
    for rows in torch.arange(len(asked.users)).split(_block(asked)):
        listed = shortlist(score, rows, asked, n, k)
        for name, trade in variants:
            items = listed.items[:, :k] if name == PLAIN else RERANKERS[name](listed, k, trade, asked.catalogue)
            found[name, trade].append(items)
    return {variant: np.concatenate(parts) for variant, parts in found.items()}


def _block(asked: Asked) -> int:
    """Users at once, so that neither their scores nor their candidates' categories take too much."""
    widest = max(len(asked.catalogue.counts), 100 * asked.catalogue.categories.shape[1])
    return min(BLOCK, users_at_once(widest))


def measure(lists: np.ndarray, asked: Asked) -> list[dict[str, object]]:
    """Measure lists (n, k), for all and for each group: rows `group`, `metric`, `value`."""
    catalogue, k = asked.catalogue, lists.shape[1]
    place = measures.places(lists, asked.answers)
    obvious = np.argsort(-catalogue.counts[1:], kind="stable")[:k] + 1
    each = {
        f"NDCG@{k}": ndcg(place, k),
        f"HR@{k}": hit_rate(place, k),
        "semantic diversity": measures.semantic_diversity(lists, catalogue),
        "category diversity": measures.category_diversity(lists, catalogue),
        "novelty": measures.novelty(lists, catalogue),
        "serendipity": measures.serendipity(place <= k, asked.answers, np.tile(obvious, (len(lists), 1))),
        "miscalibration": measures.miscalibration(lists, asked.shares, catalogue),
        "tail exposure": catalogue.tail[lists].mean(1),
    }
    n_items = len(catalogue.counts) - 1
    rows = []
    for group, where in asked.groups.items():
        whole = {name: float(values[where].mean()) for name, values in each.items()} | {
            "coverage": measures.coverage(lists[where], n_items),
            "concentration": measures.concentration(lists[where], n_items),
            "popularity lift": measures.popularity_lift(lists[where], asked.profiles[where], catalogue),
        }
        rows += [{"group": group, "metric": name, "value": value} for name, value in whole.items()]
    return rows
