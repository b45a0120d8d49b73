"""An audit by user attributes that no model has seen: are groups served alike, and do states reveal the group?"""

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

from llmesr.evaluate.references import UNTRAINED
from llmesr.experiments import Study
from llmesr.metrics import ndcg
from llmesr.models.inputs import ModelInputs
from llmesr.models.scoring import Scorer, rank
from llmesr.notes import note
from llmesr.paths import replacing, results
from llmesr.prepare import dataset
from llmesr.prepare.dataset import Dataset
from llmesr.runs.matrix import matrix_runs
from llmesr.runs.pool import train_all
from llmesr.runs.store import Run
from llmesr.settings import Settings
from llmesr.similarity import incidence

POPULARITY = "popularity"
"""What the audit of items is called among the attributes."""
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


def run(settings: Settings, data: Dataset, inputs: ModelInputs, study: Study) -> pl.DataFrame:
    """Audit every method, and variants with an adversary; write `results/<dataset>/debias/audit.csv`.

    The attributes are `user_attributes` of the dataset, guessed from users' states, and the popularity of items, head
    or tail, guessed from their vectors. Without user attributes there is no audit: the file has its header only.
    Where there are not enough head or tail items, popularity is left out; so is an attribute without two groups of
    users that are large enough, with a note.

    Everything is measured on validation: NDCG@10 in the full ranking by group, the gap between the best and the worst
    served, and the leakage, the AUC with which a logistic regression tells the groups apart by states (0.5 is chance).
    Two rows without a model say how much the history itself reveals. Runs that the store lacks are trained.

    Args:
        settings: `data.user_attributes`; methods and seeds are those of `diversity`.
        data: the dataset.
        inputs: what models are built from.
        study: its variants with an adversary are audited as well.

    Returns:
        `dataset, backbone, method, seed, attribute, group, metric, value`.

    Raises:
        InputError: the users have no such attribute, or a run failed.
    """
    rows: list[dict[str, object]] = []
    if settings.data.user_attributes:
        key = f"datasets.{settings.dataset}.user_attributes"
        of_users = {attribute: groups_of(data, attribute, key) for attribute in settings.data.user_attributes}
        of_users = {attribute: labels for attribute, labels in of_users.items() if (labels != "").any()}
        for audited in _audited(settings, data, inputs, study):
            about = {"dataset": data.name, "backbone": audited.backbone, "method": audited.method, "seed": audited.seed}
            rows += [{**about, **row} for row in _measure_all(audited, data, of_users)]
    frame = pl.DataFrame(rows, schema=SCHEMA)
    with replacing(results(data.name, "debias") / "audit.csv") as temporary:
        frame.write_csv(temporary, float_precision=6)
    return frame


def groups_of(data: Dataset, attribute: str, key: str) -> np.ndarray:
    """Give the group (n,) of each user with a validation item; unknown ones and small groups are empty strings.

    With fewer than two groups that are large enough all are, and a note says so.

    Raises:
        InputError: there is no such attribute.
    """
    labels = dataset.attribute(data, attribute, key)[data.validation.users]
    names, counts = np.unique(labels[labels != ""], return_counts=True)
    large = names[counts >= FEWEST]
    if len(large) < 2:
        note(f"'{attribute}' has no two groups of {FEWEST} users with a validation item, and is not audited")
        large = large[:0]
    return np.where(np.isin(labels, large), labels, "")


@dataclass(frozen=True)
class Audited:
    """What a method, or a row without one, knows and does.

    Attributes:
        states: (n, W) of the users with a validation item.
        table: (V, W) vectors of the items, if there is a model.
        ranks: (n,) of the validation items in the full ranking, likewise.
    """

    backbone: str
    method: str
    seed: int
    states: np.ndarray | csr_matrix
    table: np.ndarray | None = None
    ranks: np.ndarray | None = None


def _audited(settings: Settings, data: Dataset, inputs: ModelInputs, study: Study) -> Iterator[Audited]:
    """Give first what needs no model, then each run, then each variant that was trained with an adversary."""
    chosen, validation = settings.diversity, data.validation
    histories = data.train.take(torch.tensor(validation.users, dtype=torch.int64))
    yield Audited(UNTRAINED, HISTORY, 0, incidence(histories, data.n_items)[:, 1:])
    yield Audited(UNTRAINED, TEXT, 0, inputs.user_embeddings[validation.users])
    own = {"methods": chosen.methods, "backbones": [chosen.backbone], "seeds": chosen.seeds}
    runs = [(run.method, run) for run in matrix_runs(settings, data, inputs, **own)]
    for name, variant in study.available.items():
        if variant.settings.train.adversary != "none":
            where = variant.settings, settings.experiments.backbone, variant.method
            runs += [(name, Run(*where, seed, data, inputs)) for seed in settings.experiments.seeds]
    for (name, run), trained in zip(runs, train_all([run for _, run in runs], "audit"), strict=True):
        scorer = Scorer.of(trained.method, data.n_items, run.settings.data.max_length)
        ranks = rank(scorer, histories, validation.items, data.n_items, seen=histories)
        states, table = scorer.states(histories).numpy(), scorer.table[1:-1].numpy()
        yield Audited(run.backbone, name, run.seed, states, table, ranks)


def _measure_all(audited: Audited, data: Dataset, of_users: dict[str, np.ndarray]) -> Iterator[dict[str, object]]:
    """Measure by every attribute of users, and by the popularity of items if there is a model."""
    for attribute, labels in of_users.items():
        for row in measure(labels, audited.states, labels, audited.ranks):
            yield {"attribute": attribute, **row}
    kinds = np.where(data.items["tail"] == "tail_item", "tail", "head")
    names, counts = np.unique(kinds, return_counts=True)
    if audited.table is not None and len(names) > 1 and min(counts) >= FOLDS:
        for row in measure(kinds, audited.table, kinds[data.validation.items - 1], audited.ranks):
            yield {"attribute": POPULARITY, **row}


def measure(
    labels: np.ndarray, states: np.ndarray | csr_matrix, cases: np.ndarray, ranks: np.ndarray | None
) -> list[dict[str, object]]:
    """Measure one method by one attribute: rows `group`, `metric`, `value`.

    Args:
        labels: (n,) the groups that are guessed; who has an empty one is left out.
        states: (n, W) of users, or vectors of items, from which they are guessed.
        cases: (m,) the groups of the validation cases.
        ranks: (m,) of the validation items, if there is a model.
    """
    known = labels != ""
    rows = [{"group": "all", "metric": "leakage", "value": leakage(states[known], labels[known])}]
    if ranks is not None:
        gains = ndcg(ranks, 10)
        means = {str(name): float(gains[cases == name].mean()) for name in np.unique(cases[cases != ""])}
        rows += [{"group": name, "metric": "NDCG@10", "value": mean} for name, mean in means.items()]
        rows.append({"group": "all", "metric": "gap", "value": max(means.values()) - min(means.values())})
    return rows


def leakage(states: np.ndarray | csr_matrix, labels: np.ndarray) -> float:
    """AUC of a logistic regression that guesses groups (n,) from states (n, W), each by a model that never saw it.

    Of more than two groups the mean over each against the rest.
    """
    scaler = StandardScaler(with_mean=not issparse(states))
    probe = make_pipeline(scaler, LogisticRegression(C=0.1, max_iter=1000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    chances = cross_val_predict(probe, states, labels, cv=folds, method="predict_proba")
    if chances.shape[1] == 2:
        return float(roc_auc_score(labels == np.unique(labels)[1], chances[:, 1]))
    return float(roc_auc_score(labels, chances, multi_class="ovr", average="macro"))
