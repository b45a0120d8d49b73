"""An audit by attributes of users that no model has seen: are groups served alike, and do states tell who one is?"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_matrix, issparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from llmesr import study, train
from llmesr.embed import Embeddings
from llmesr.errors import InputError
from llmesr.metrics import ndcg
from llmesr.models.ragged import Ragged
from llmesr.models.scoring import full_ranks, item_table, represent, rescorer
from llmesr.paths import replacing, results
from llmesr.prepare import dataset
from llmesr.prepare.dataset import Dataset, Sequences, baskets
from llmesr.published import UNTRAINED
from llmesr.retrieve import Neighbours
from llmesr.settings import Settings

POPULARITY = "popularity"
FEWEST = 20
"""Users that a group must have to be told apart."""
FOLDS = 5
SCHEMA = {
    **dict.fromkeys(("dataset", "backbone", "method"), pl.String),
    "seed": pl.Int64,
    **dict.fromkeys(("attribute", "group", "metric"), pl.String),
    "value": pl.Float64,
}
HISTORY, TEXT = "history", "user_text"
"""Rows of what states are made of: which items a user had, and the LLM embedding of it."""


def audit(settings: Settings, data: Dataset, embeddings: Embeddings, similar: Neighbours) -> pl.DataFrame:
    """Audit every method, and variants with a rival, by attributes; write `results/<dataset>/audit.csv`.

    Where there are not enough head or tail items, popularity is left out.
    The attributes are those of `diversity.attributes`, told by users' states, and the popularity of items, head or
    tail, told by their vectors.

    Everything is measured on validation: NDCG@10 in the whole catalogue by group, the gap between the best and the
    worst served, and the leakage, the AUC with which a logistic regression tells the groups apart by users' states
    (`leakage`; 0.5 is chance). What is in the history itself anyway is told by two rows without a model.

    Returns:
        `dataset, backbone, method, seed, attribute, group, metric, value`.

    Raises:
        InputError: the users have no such attribute, or no two groups of it are large enough.
    """
    attributes = settings.diversity.attributes
    of_users = {attribute: groups_of(data, attribute) for attribute in attributes}
    kinds = np.where(data.items["tail"] == "tail_item", "tail", "head")
    rows = []
    for one in _measured(settings, data, embeddings, similar):
        about = {"dataset": data.name, "backbone": one.backbone, "method": one.method, "seed": one.seed}
        for attribute, labels in of_users.items():
            found = measure(labels, one.states, labels, one.ranks)
            rows += [{**about, "attribute": attribute, **row} for row in found]
        if one.table is not None and min(np.unique(kinds, return_counts=True)[1]) >= FOLDS and len(set(kinds)) > 1:
            found = measure(kinds, one.table, kinds[data.validation.items - 1], one.ranks)
            rows += [{**about, "attribute": POPULARITY, **row} for row in found]
    found = pl.DataFrame(rows, schema=SCHEMA)
    with replacing(results(data.name) / "audit.csv") as temporary:
        found.write_csv(temporary, float_precision=6)
    return found


def groups_of(data: Dataset, attribute: str) -> np.ndarray:
    """Give the group (n,) of each user with a validation item; unknown ones and small groups are empty strings.

    Raises:
        InputError: there is no such attribute, or there are not two groups of it.
    """
    labels = dataset.attribute(data, attribute, "diversity.attributes")[data.validation.users]
    names, counts = np.unique(labels[labels != ""], return_counts=True)
    large = names[counts >= FEWEST]
    if len(large) < 2:
        raise InputError(f"'{attribute}' has no two groups of {FEWEST} users: leave it out of 'diversity.attributes'")
    return np.where(np.isin(labels, large), labels, "")


def measure(
    labels: np.ndarray, told: np.ndarray | csr_matrix, asked: np.ndarray, ranks: np.ndarray | None
) -> list[dict[str, object]]:
    """Measure one method by one attribute: rows `group`, `metric`, `value`.

    Args:
        labels: (n,) the groups of those who are told by `told`; the empty one is left out.
        told: (n, W) states of users, or vectors of items.
        asked: (m,) the groups of the validation cases.
        ranks: (m,) of the validation items, if there is a model.
    """
    known = labels != ""
    rows = [{"group": "all", "metric": "leakage", "value": leakage(told[known], labels[known])}]
    if ranks is not None:
        gains = ndcg(ranks, 10)
        means = {str(name): float(gains[asked == name].mean()) for name in np.unique(asked[asked != ""])}
        rows += [{"group": name, "metric": "NDCG@10", "value": mean} for name, mean in means.items()]
        rows.append({"group": "all", "metric": "gap", "value": max(means.values()) - min(means.values())})
    return rows


def leakage(states: np.ndarray | csr_matrix, labels: np.ndarray) -> float:
    """AUC of a logistic regression that tells groups (n,) by states (n, W), each user by a model that never saw them.

    Of more than two groups the mean over each against the rest.
    """
    scaler = StandardScaler(with_mean=not issparse(states))
    probe = make_pipeline(scaler, LogisticRegression(C=0.1, max_iter=1000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    chances = cross_val_predict(probe, states, labels, cv=folds, method="predict_proba")
    if chances.shape[1] == 2:
        return float(roc_auc_score(labels == np.unique(labels)[1], chances[:, 1]))
    return float(roc_auc_score(labels, chances, multi_class="ovr", average="macro"))


@dataclass(frozen=True)
class Measured:
    """What a method, or a row without one, knows and does.

    Attributes:
        states: (n, W) of the users with a validation item.
        table: (V, W) of the items, if there is a model.
        ranks: (n,) of the validation items in the whole catalogue, likewise.
    """

    backbone: str
    method: str
    seed: int
    states: np.ndarray | csr_matrix
    table: np.ndarray | None = None
    ranks: np.ndarray | None = None


def _measured(settings: Settings, data: Dataset, embeddings: Embeddings, similar: Neighbours) -> Iterator[Measured]:
    """Measure first without a model, then each run, then each variant that was trained with a rival."""
    chosen, asked = settings.diversity, data.validation
    users = torch.from_numpy(asked.users.astype(np.int64))
    sequences = Ragged.of(data.train.items, data.train.lengths)
    histories = sequences.take(users)
    if chosen.attributes:
        had = baskets(Sequences(histories.items.numpy(), histories.offsets.numpy()), data.n_items)
        yield Measured(UNTRAINED, HISTORY, 0, had[:, 1:])
        yield Measured(UNTRAINED, TEXT, 0, embeddings.users[asked.users])
    runs = [(settings, chosen.backbone, method, None, chosen.seeds) for method in chosen.methods]
    for variant, about in settings.study.variants.items():
        own = study.changed(settings, variant)
        if own.train.adversary != "none":
            runs.append((own, settings.study.backbone, about.method, variant, settings.study.seeds))
    for own, backbone, method, variant, seeds in runs:
        for seed in seeds:
            model = train.load(own, embeddings, similar, backbone, method, seed, variant).model
            states = represent(model, sequences, users, data.n_items, own.model.max_length)
            table = item_table(model, data.n_items)
            ranks = full_ranks(states, table, asked.items, histories, rescorer(model, histories))
            yield Measured(backbone, variant or method, seed, states.numpy(), table[1:].numpy(), ranks)
