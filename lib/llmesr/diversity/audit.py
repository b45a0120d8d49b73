"""An audit by attributes of users that no model has seen: are groups served alike, and do states tell who one is?"""

from collections.abc import Iterator

import numpy as np
import polars as pl
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from llmesr import train
from llmesr.embed import Embeddings
from llmesr.errors import InputError
from llmesr.metrics import ndcg
from llmesr.models.ragged import Ragged
from llmesr.models.scoring import full_ranks, item_table, represent, rescorer
from llmesr.paths import replacing, results
from llmesr.prepare.dataset import Dataset
from llmesr.retrieve import Neighbours
from llmesr.settings import Settings

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
"""Rows of what states are made of: how often a user had which item, and the LLM embedding of it."""


def audit(settings: Settings, data: Dataset, embeddings: Embeddings, similar: Neighbours) -> pl.DataFrame:
    """Audit every method by every attribute of `diversity.attributes`; write `results/<dataset>/audit.csv`.

    Everything is measured on validation: NDCG@10 in the whole catalogue by group, the gap between the best and the
    worst served, and the leakage, the AUC with which a logistic regression tells the groups apart by users' states
    (`leakage`; 0.5 is chance). What is in the history itself anyway is told by two rows without a model.

    Returns:
        `dataset, backbone, method, seed, attribute, group, metric, value`.

    Raises:
        InputError: the users have no such attribute, or no two groups of it are large enough.
    """
    chosen, rows = settings.diversity, []
    for attribute in chosen.attributes:
        labels = groups_of(data, attribute)
        for backbone, method, seed, states, ranks in _measured(settings, data, embeddings, similar):
            about = {"dataset": data.name, "backbone": backbone, "method": method, "seed": seed, "attribute": attribute}
            rows += [{**about, **row} for row in measure(labels, states, ranks)]
    found = pl.DataFrame(rows, schema=SCHEMA)
    with replacing(results(data.name) / "audit.csv") as temporary:
        found.write_csv(temporary, float_precision=6)
    return found


def groups_of(data: Dataset, attribute: str) -> np.ndarray:
    """Give the group (n,) of each user with a validation item; unknown ones and small groups are empty strings.

    Raises:
        InputError: there is no such attribute, or there are not two groups of it.
    """
    known = [name for name in data.users.columns if name not in ("user", "user_id", "length", "tail", "group")]
    if attribute not in known:
        raise InputError(
            f"key 'diversity.attributes' names '{attribute}', and of users is known: {', '.join(known) or 'nothing'}"
        )
    labels = data.users[attribute].cast(pl.String).fill_null("").to_numpy()[data.validation.users].astype(str)
    names, counts = np.unique(labels[labels != ""], return_counts=True)
    large = names[counts >= FEWEST]
    if len(large) < 2:
        raise InputError(f"'{attribute}' has no two groups of {FEWEST} users: leave it out of 'diversity.attributes'")
    return np.where(np.isin(labels, large), labels, "")


def measure(labels: np.ndarray, states: np.ndarray, ranks: np.ndarray | None) -> list[dict[str, object]]:
    """Measure one method by one attribute: rows `group`, `metric`, `value`.

    Args:
        labels: (n,) groups; users of the empty one are left out.
        states: (n, W).
        ranks: (n,) of the validation items, if there is a model.
    """
    known = labels != ""
    rows = [{"group": "all", "metric": "leakage", "value": leakage(states[known], labels[known])}]
    if ranks is not None:
        gains = ndcg(ranks, 10)
        means = {str(name): float(gains[labels == name].mean()) for name in np.unique(labels[known])}
        rows += [{"group": name, "metric": "NDCG@10", "value": mean} for name, mean in means.items()]
        rows.append({"group": "all", "metric": "gap", "value": max(means.values()) - min(means.values())})
    return rows


def leakage(states: np.ndarray, labels: np.ndarray) -> float:
    """AUC of a logistic regression that tells groups (n,) by states (n, W), each user by a model that never saw them.

    Of more than two groups the mean over each against the rest.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    chances = cross_val_predict(probe, states, labels, cv=folds, method="predict_proba")
    if chances.shape[1] == 2:
        return float(roc_auc_score(labels == np.unique(labels)[1], chances[:, 1]))
    return float(roc_auc_score(labels, chances, multi_class="ovr", average="macro"))


def _measured(
    settings: Settings, data: Dataset, embeddings: Embeddings, similar: Neighbours
) -> Iterator[tuple[str, str, int, np.ndarray, np.ndarray | None]]:
    """Give what users are known by, and how their validation items rank: first without a model, then each run's."""
    chosen, asked = settings.diversity, data.validation
    users = torch.from_numpy(asked.users.astype(np.int64))
    sequences = Ragged.of(data.train.items, data.train.lengths)
    histories = sequences.take(users, len(data.train.items))
    had = np.zeros((len(users), data.n_items + 1), np.float32)
    np.add.at(had, (histories.row.numpy(), histories.items.numpy()), 1)
    yield "untrained", HISTORY, 0, had[:, 1:], None
    yield "untrained", TEXT, 0, embeddings.users[asked.users], None
    for method in chosen.methods:
        for seed in chosen.seeds:
            model = train.load(settings, embeddings, similar, chosen.backbone, method, seed).model
            states = represent(model, sequences, users, data.n_items, settings.model.max_length)
            table = item_table(model, data.n_items)
            ranks = full_ranks(states, table, asked.items, histories, rescorer(model, histories))
            yield chosen.backbone, method, seed, states.numpy(), ranks
