"""Stage 19: do the lists narrow, and what can be done about it? Measured on validation; the test split has no part."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from llmesr.errors import InputError
from llmesr.evaluate.references import REFERENCES, UNTRAINED
from llmesr.extras.diversity import bandits, measures
from llmesr.extras.diversity.measures import Catalogue, categories_of
from llmesr.extras.diversity.rerank import RERANKERS, Candidates, candidates, reranked
from llmesr.metrics import hit_rate, ndcg
from llmesr.models.inputs import ModelInputs
from llmesr.models.scoring import Scorer, Scores, users_at_once, without
from llmesr.paths import replacing, results
from llmesr.prepare.dataset import OF_ITEMS, Dataset
from llmesr.runs.matrix import matrix_runs
from llmesr.runs.pool import train_all
from llmesr.sequences import Sequences
from llmesr.settings import Settings

BY_CATEGORY = ("category diversity", "miscalibration")
"""Measures that there are only with categories."""
AS_IT_IS = "none"
"""Stands in the column `reranker` of lists that are not re-ranked; λ is 1 then."""


@dataclass(frozen=True)
class ListUsers:
    """The users with a validation item, for whom lists are made, and what lists are measured by.

    Attributes:
        catalogue: what is known of items.
        users: (n,) their rows.
        targets: (n,) their validation items.
        histories: their training items.
        shares: (n, C) mean category shares of each history.
        popularity: (n,) mean count of each history's items.
        groups: name → (n,) bool.
    """

    catalogue: Catalogue
    users: np.ndarray
    targets: np.ndarray
    histories: Sequences
    shares: np.ndarray
    popularity: np.ndarray
    groups: dict[str, np.ndarray]


def list_users(settings: Settings, data: Dataset, inputs: ModelInputs) -> ListUsers:
    """Gather what lists are measured by.

    Raises:
        InputError: the items have no such column of categories.
    """
    column, train = settings.data.category, data.train
    attributes = [name for name in data.items.columns if name not in OF_ITEMS]
    if column is not None and column not in attributes:
        raise InputError(
            f"key 'datasets.{settings.dataset}.category' is '{column}', which is not among the items' attributes "
            f"({', '.join(attributes) or 'there are none'}): name one of them, or null"
        )
    categories = pl.repeat("any", data.n_items, eager=True) if column is None else data.items[column]
    length = np.linalg.norm(inputs.item_embeddings, axis=1, keepdims=True).clip(min=1e-12)
    catalogue = Catalogue(
        unit=inputs.item_embeddings / length,
        categories=categories_of(categories, settings.data.category_separator),
        counts=torch.bincount(train.items, minlength=data.n_items + 1).numpy(),
        tail=np.append(False, (data.items["tail"] == "tail_item").to_numpy()),
        n_users=data.n_users,
    )
    histories = train.take(torch.tensor(data.validation.users, dtype=torch.int64))
    labels = data.users["tail"].to_numpy()[data.validation.users]
    groups = {"overall": np.ones(len(labels), bool)} | {str(name): labels == name for name in np.unique(labels)}
    return ListUsers(
        catalogue,
        data.validation.users,
        data.validation.items,
        histories,
        shares=_mean_over(histories, catalogue.categories),
        popularity=_mean_over(histories, catalogue.counts[:, None].astype(np.float64))[:, 0],
        groups=groups,
    )


def _mean_over(histories: Sequences, table: np.ndarray) -> np.ndarray:
    """Average rows of a table (V + 1, C) over the items of each history: (n, C)."""
    return histories.mean(torch.from_numpy(table)[histories.items]).numpy()


def run(settings: Settings, data: Dataset, inputs: ModelInputs) -> pl.DataFrame:
    """Measure the lists of every method, and of some of them re-ranked; write `results/<dataset>/diversity/`.

    Without categories the measures by category are left out. Runs that the store lacks are trained.

    Returns:
        the frame of `diversity.csv`: `dataset, backbone, method, seed, reranker, trade, group, metric, value`.

    Raises:
        InputError: a run failed, there is no such column of categories, or a list cannot be filled.
    """
    users, chosen, rows = list_users(settings, data, inputs), settings.diversity, []
    categories = settings.data.category is not None
    for about, scores in all_scores(settings, data, inputs, users):
        variants = [(AS_IT_IS, 1.0)]
        if about["method"] in chosen.reranked:
            known = [name for name in RERANKERS if categories or name != "calibrated"]
            variants += [(name, trade) for name in known for trade in chosen.tradeoffs]
        best = shortlist(scores, users, chosen.candidates, chosen.k)
        for name, trade in variants:
            lists = best.items[:, : chosen.k]
            if name != AS_IT_IS:
                lists = reranked(name, best, chosen.k, trade, users.catalogue)
            measured = [row for row in measure(lists, users) if categories or row["metric"] not in BY_CATEGORY]
            rows += [{"dataset": data.name, **about, "reranker": name, "trade": trade, **row} for row in measured]
    frame = pl.DataFrame(rows)
    with replacing(results(data.name, "diversity") / "diversity.csv") as temporary:
        frame.write_csv(temporary, float_precision=6)
    return frame


def explore(settings: Settings, data: Dataset, inputs: ModelInputs) -> pl.DataFrame:
    """Simulate a shop that learns from clicks; write `results/<dataset>/explore/exploration.csv`.

    It starts with what the first of `diversity.methods` believes; the users want what the last one says, of another
    seed where there are several.

    Returns:
        `dataset, policy, seed, round, regret, clicks, coverage`.

    Raises:
        InputError: a run failed.
    """
    users, chosen = list_users(settings, data, inputs), settings.diversity
    ends = ((chosen.methods[0], chosen.seeds[0]), (chosen.methods[-1], chosen.seeds[-1]))
    runs = [
        run
        for method, seed in ends
        for run in matrix_runs(settings, data, inputs, methods=[method], backbones=[chosen.backbone], seeds=[seed])
    ]
    max_length = settings.data.max_length
    belief, truth = (Scorer.of(one.method, data.n_items, max_length) for one in train_all(runs, "exploration"))
    least = data.n_items - int(users.histories.lengths.max())  # candidates that are new to everybody
    n = max(1, min(chosen.candidates, least))
    best = shortlist([(torch.arange(len(users.users)), belief)], users, n, n)
    items, wanted = torch.from_numpy(best.items), []
    for rows in torch.arange(len(users.users)).split(users_at_once(data.n_items + 1)):
        wanted.append(truth.among(users.histories.take(rows), items[rows]))
    world = bandits.world(best, torch.cat(wanted).numpy(), data.n_items)
    frames = []
    for policy, strength in (("greedy", 0.0), ("epsilon", chosen.epsilon), ("ucb", chosen.ucb)):
        for seed in chosen.seeds:
            course = bandits.simulate(policy, strength, world, chosen.rounds, seed)
            labels = {"dataset": data.name, "policy": policy, "seed": seed}
            frames.append(course.select(*(pl.lit(value).alias(name) for name, value in labels.items()), pl.all()))
    frame = pl.concat(frames)
    with replacing(results(data.name, "explore") / "exploration.csv") as temporary:
        frame.write_csv(temporary, float_precision=6)
    return frame


Versions = list[tuple[torch.Tensor, Scores]]
"""Rows of the users, and what scores items for them: a method that learned from some validation items judges others."""


def all_scores(
    settings: Settings, data: Dataset, inputs: ModelInputs, users: ListUsers
) -> Iterator[tuple[dict[str, object], Versions]]:
    """Give each reference and each run: `backbone`, `method` and `seed`, and its scores."""
    chosen, max_length, numbers = settings.diversity, settings.data.max_length, torch.tensor(users.users)
    everyone = torch.arange(len(numbers))
    for name, reference in REFERENCES.items():
        about = {"backbone": UNTRAINED, "method": name, "seed": 0}
        yield about, [(everyone, reference(data.train, data.n_items))]
    own = {"methods": chosen.methods, "backbones": [chosen.backbone], "seeds": chosen.seeds}
    runs = matrix_runs(settings, data, inputs, **own)
    for run, trained in zip(runs, train_all(runs, "diversity"), strict=True):
        about = {"backbone": run.backbone, "method": run.method, "seed": run.seed}
        versions = trained.method.for_validation(numbers)
        yield about, [(rows, Scorer.of(method, data.n_items, max_length)) for rows, method in versions]


def shortlist(versions: Versions, users: ListUsers, n: int, k: int) -> Candidates:
    """Take everybody's n best items that they have not had.

    Raises:
        InputError: a user has had so many that no k are left.
    """
    blocks, order = [], torch.cat([rows for rows, _ in versions])
    at_once = users_at_once(len(users.catalogue.counts))
    for rows, scores in ((some, scores) for whole, scores in versions for some in whole.split(at_once)):
        histories = users.histories.take(rows)
        values = without(scores(histories), histories)
        left = int(values.isfinite().sum(1).min())
        if left < k:
            raise InputError(f"a user has had all items but {left}, and lists hold {k}: lower 'diversity.k' to that")
        blocks.append(candidates(values.numpy(), min(n, values.shape[1] - 1), users.shares[rows.numpy()]))
    return Candidates.concatenate(blocks).of_users(order.argsort().numpy())


def measure(lists: np.ndarray, users: ListUsers) -> list[dict[str, object]]:
    """Measure lists (n, k), for all and for each group: rows `group`, `metric`, `value`."""
    catalogue, k = users.catalogue, lists.shape[1]
    rank = measures.ranks(lists, users.targets)
    best_sellers = np.argsort(-catalogue.counts[1:], kind="stable")[:k] + 1
    each = {
        f"NDCG@{k}": ndcg(rank, k),
        f"HR@{k}": hit_rate(rank, k),
        "semantic diversity": measures.semantic_diversity(lists, catalogue),
        "category diversity": measures.category_diversity(lists, catalogue),
        "novelty": measures.novelty(lists, catalogue),
        "serendipity": measures.serendipity(rank <= k, users.targets, np.tile(best_sellers, (len(lists), 1))),
        "miscalibration": measures.miscalibration(lists, users.shares, catalogue),
        "tail exposure": catalogue.tail[lists].mean(1),
    }
    n_items = len(catalogue.counts) - 1
    rows = []
    for group, members in users.groups.items():
        values = {name: float(value[members].mean()) for name, value in each.items()} | {
            "coverage": measures.coverage(lists[members], n_items),
            "concentration": measures.concentration(lists[members], n_items),
            "popularity lift": measures.popularity_lift(lists[members], users.popularity[members], catalogue),
        }
        rows += [{"group": group, "metric": name, "value": value} for name, value in values.items()]
    return rows
