"""Stage 03: the users who are similar by LLM embedding, found with faiss (Sec. 3.3)."""

from dataclasses import dataclass

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from llmesr.embed import Embeddings
from llmesr.errors import InputError
from llmesr.paths import artifact, replacing, shown
from llmesr.prepare.dataset import Dataset
from llmesr.sequences import Sequences
from llmesr.settings import Settings
from llmesr.similarity import incidence, nearest

BLOCK = 512
"""Users that are compared with all others at once."""


@dataclass(frozen=True)
class Neighbours:
    """The similar users of each user.

    Attributes:
        users: (U, N) their rows, most similar first, never the user itself.
        scores: (U, N) their cosine, inner product, or squared L2 distance.
    """

    users: np.ndarray
    scores: np.ndarray


def similar_users(embeddings: np.ndarray, neighbours: int, measure: str, exact_up_to: int) -> Neighbours:
    """Find the top-N similar users of every user.

    Args:
        embeddings: (U, L) float32.
        neighbours: N; fewer users than N + 1 give U - 1.
        measure: `cosine`, `inner_product` or `l2`.
        exact_up_to: more users than this are searched approximately.

    Raises:
        InputError: there is one user only.
    """
    return Neighbours(*nearest(embeddings, _at_most(len(embeddings), neighbours), measure, exact_up_to))


def jaccard_neighbours(train: Sequences, n_items: int, neighbours: int) -> Neighbours:
    """Find the top-N users of every user by Jaccard overlap |A ∩ B| / |A ∪ B| of their training items.

    Equal overlaps, zero among them, are ordered by row.
    """
    has = incidence(train, n_items)  # (U, V + 1)
    sizes, n_users = np.asarray(has.sum(1)).ravel(), len(train)
    top = _at_most(n_users, neighbours)
    users, scores = np.zeros((n_users, top), np.int64), np.zeros((n_users, top), np.float32)
    for start in range(0, n_users, BLOCK):
        rows = slice(start, start + BLOCK)
        shared = (has[rows] @ has.T).toarray()  # (b, U)
        overlap = shared / np.maximum(sizes[rows, None] + sizes - shared, 1)
        overlap[np.arange(len(overlap)), start + np.arange(len(overlap))] = -1.0  # never oneself
        users[rows] = np.argsort(-overlap, axis=1, kind="stable")[:, :top]
        scores[rows] = np.take_along_axis(overlap, users[rows], 1)
    return Neighbours(users, scores)


def random_neighbours(n_users: int, neighbours: int, seed: int) -> Neighbours:
    """Draw N distinct other users for every user: a control, neighbours who are not similar at all."""
    rng, top = np.random.default_rng(seed), _at_most(n_users, neighbours)
    users = np.zeros((n_users, top), np.int64)
    for start in range(0, n_users, BLOCK):
        lottery = rng.random((min(BLOCK, n_users - start), n_users))
        lottery[np.arange(len(lottery)), start + np.arange(len(lottery))] = 2.0  # never oneself
        users[start : start + BLOCK] = np.argsort(lottery, axis=1)[:, :top]
    return Neighbours(users, np.zeros((n_users, top), np.float32))


def _at_most(n_users: int, neighbours: int) -> int:
    """Say how many others each user can have.

    Raises:
        InputError: there is one user only.
    """
    if n_users < 2:
        raise InputError("similar users need at least 2 users: the dataset has 1")
    return min(neighbours, n_users - 1)


def find(settings: Settings, data: Dataset, embeddings: Embeddings, states: np.ndarray | None = None) -> Neighbours:
    """Find every user's similar users in the source that the settings name.

    Args:
        settings: `retrieve.source`, `neighbours` and, for vectors, `measure`.
        data: for co-occurrence.
        embeddings: for the LLM's.
        states: (U, D) of a trained recommender, for `collaborative`.

    Raises:
        InputError: `collaborative` without states, or there is one user only.
    """
    chosen = settings.retrieve
    if chosen.source == "cooccurrence":
        return jaccard_neighbours(data.train, data.n_items, chosen.neighbours)
    if chosen.source == "random":
        return random_neighbours(data.n_users, chosen.neighbours, settings.prepare.seed)
    if chosen.source == "llm":
        return similar_users(embeddings.users, chosen.neighbours, chosen.measure, chosen.exact_up_to)
    if states is None:
        raise InputError(
            "key 'retrieve.source' is 'collaborative', which needs a trained recommender: only experiments have one"
        )
    return similar_users(states, chosen.neighbours, chosen.measure, chosen.exact_up_to)


def run(settings: Settings, data: Dataset, embeddings: Embeddings) -> Neighbours:
    """Do the whole stage and write `artifacts/<dataset>/retrieve/neighbours.safetensors`."""
    neighbours = find(settings, data, embeddings)
    with replacing(artifact(settings.dataset, "retrieve") / "neighbours.safetensors") as temporary:
        save_file({name: np.ascontiguousarray(table) for name, table in vars(neighbours).items()}, temporary)
    return neighbours


def load(name: str) -> Neighbours:
    """Load what the stage wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    file = artifact(name, "retrieve") / "neighbours.safetensors"
    if not file.exists():
        raise InputError(f"{shown(file)} is missing: run `dvc repro retrieve` first")
    try:
        return Neighbours(**load_file(file))
    except SafetensorError as error:
        raise InputError(f"{shown(file)} is damaged ({error}): delete it and run `dvc repro retrieve`") from None
