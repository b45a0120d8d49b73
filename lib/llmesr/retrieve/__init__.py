"""Stage 03: the users who are similar by LLM embedding, found with faiss."""

from dataclasses import dataclass

import faiss
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from llmesr.embed import Embeddings
from llmesr.errors import InputError
from llmesr.paths import artifact, replacing, shown
from llmesr.prepare.dataset import Dataset, Sequences, baskets
from llmesr.settings import Settings

BLOCK = 512
"""Users that are compared with all others at once."""
SAMPLED, ROUNDS = 40, 10
"""Vectors a cell, and rounds, of the k-means that finds the cells. With faiss's 256 and 25 it costs 16 times as much,
which at a million users is most of the time, and finds .9995 instead of .9955 of the nearest (60,000 made-up users)."""
CELLS_READ = 16
"""Cells of an approximate index that are read for a user."""
TOGETHER = 2**16
"""Users that an approximate index is asked about at once."""


@dataclass(frozen=True)
class Neighbours:
    """The teachers of each user.

    Attributes:
        users: (U, N) rows of the similar users, most similar first, never the user itself.
        scores: (U, N) their cosine, inner product, or squared L2 distance.
    """

    users: np.ndarray
    scores: np.ndarray


def similar_users(embeddings: np.ndarray, neighbours: int, measure: str, exact_up_to: int) -> Neighbours:
    """Find the top-N similar users of every user (Sec. 3.3).

    Args:
        embeddings: (U, L) float32.
        neighbours: N; fewer users than N + 1 give U - 1.
        measure: `cosine`, `inner_product` or `l2`.
        exact_up_to: more users than this are searched approximately.

    Raises:
        InputError: there is one user only, so nobody can teach.
    """
    return Neighbours(*nearest(embeddings, _teachers(len(embeddings), neighbours), measure, exact_up_to))


def nearest(vectors: np.ndarray, top: int, measure: str, exact_up_to: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest others of every row: their rows and scores, (n, top) each, nearest first.

    Args:
        vectors: (n, L).
        top: how many; n - 1 if there are fewer.
        measure: `cosine`, `inner_product` or `l2`.
        exact_up_to: more rows than this are searched approximately.
    """
    n, top = len(vectors), min(top, len(vectors) - 1)
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if measure == "cosine":
        vectors = vectors.copy()
        faiss.normalize_L2(vectors)
    scores, found = _search(vectors, top + 1, measure, exact=n <= exact_up_to)
    # The row itself is usually, but not always, among the top N + 1: users with equal texts have equal vectors,
    # and by inner product a longer vector can come first. Drop it where found, else the last.
    drop = found == np.arange(n)[:, None]
    drop[~drop.any(1), -1] = True
    return found[~drop].reshape(n, top).astype(np.int64), scores[~drop].reshape(n, top)


def _search(vectors: np.ndarray, top: int, measure: str, *, exact: bool) -> tuple[np.ndarray, np.ndarray]:
    """Search all vectors for each of them: scores and rows, (U, top) each.

    Compared with all others, U users cost U² comparisons. Beyond a size faiss sorts them into about 4√U cells by
    k-means and reads the nearest cells of each only, which costs some U√U.
    """
    metric = faiss.METRIC_L2 if measure == "l2" else faiss.METRIC_INNER_PRODUCT
    flat = faiss.index_factory(vectors.shape[1], "Flat", metric)
    if exact:
        flat.add(vectors)
        return flat.search(vectors, top)
    index = faiss.index_factory(
        vectors.shape[1], f"IVF{min(round(4 * len(vectors) ** 0.5), len(vectors))},Flat", metric
    )
    index.cp.max_points_per_centroid, index.cp.niter = SAMPLED, ROUNDS
    index.train(vectors)
    index.add(vectors)
    index.nprobe = CELLS_READ
    scores, found = _cell_by_cell(index, vectors, top)
    short = (found < 0).any(1)  # the cells that were read held too few
    if short.any():
        flat.add(vectors)
        scores[short], found[short] = flat.search(vectors[short], top)
    return scores, found


def _cell_by_cell(index: faiss.IndexIVF, vectors: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Search an index for its own vectors, those of a cell after each other.

    They read the same cells, which then come from the processor's cache: three times as fast at a million users.
    """
    _, cells = index.quantizer.search(vectors, 1)
    order = np.argsort(cells[:, 0], kind="stable")
    scores, found = np.empty((len(vectors), top), np.float32), np.empty((len(vectors), top), np.int64)
    for rows in np.split(order, range(TOGETHER, len(order), TOGETHER)):
        scores[rows], found[rows] = index.search(vectors[rows], top)
    return scores, found


def co_buyers(train: Sequences, n_items: int, neighbours: int) -> Neighbours:
    """Find the top-N users of every user by Jaccard overlap |A ∩ B| / |A ∪ B| of their training items.

    Equal overlaps, zero among them, are ordered by row.
    """
    has = baskets(train, n_items)
    sizes, n_users = np.asarray(has.sum(1)).ravel(), len(train)
    top = _teachers(n_users, neighbours)
    users, scores = np.zeros((n_users, top), np.int64), np.zeros((n_users, top), np.float32)
    for start in range(0, n_users, BLOCK):
        rows = slice(start, start + BLOCK)
        shared = (has[rows] @ has.T).toarray()  # (b, U)
        overlap = shared / np.maximum(sizes[rows, None] + sizes - shared, 1)
        overlap[np.arange(len(overlap)), start + np.arange(len(overlap))] = -1.0  # never oneself
        users[rows] = np.argsort(-overlap, axis=1, kind="stable")[:, :top]
        scores[rows] = np.take_along_axis(overlap, users[rows], 1)
    return Neighbours(users, scores)


def random_users(n_users: int, neighbours: int, seed: int) -> Neighbours:
    """Draw N distinct other users for every user: what teachers are worth who are not similar at all."""
    rng, top = np.random.default_rng(seed), _teachers(n_users, neighbours)
    users = np.zeros((n_users, top), np.int64)
    for start in range(0, n_users, BLOCK):
        lottery = rng.random((min(BLOCK, n_users - start), n_users))
        lottery[np.arange(len(lottery)), start + np.arange(len(lottery))] = 2.0  # never oneself
        users[start : start + BLOCK] = np.argsort(lottery, axis=1)[:, :top]
    return Neighbours(users, np.zeros((n_users, top), np.float32))


def _teachers(n_users: int, neighbours: int) -> int:
    """How many others each user can have.

    Raises:
        InputError: there is one user only, so nobody can teach.
    """
    if n_users < 2:
        raise InputError("similar users need at least 2 users: the dataset has 1")
    return min(neighbours, n_users - 1)


def find(settings: Settings, data: Dataset, embeddings: Embeddings, states: np.ndarray | None = None) -> Neighbours:
    """Find every user's teachers in the source that the settings name.

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
        return co_buyers(data.train, data.n_items, chosen.neighbours)
    if chosen.source == "random":
        return random_users(data.n_users, chosen.neighbours, settings.prepare.seed)
    if chosen.source == "llm":
        return similar_users(embeddings.users, chosen.neighbours, chosen.measure, chosen.exact_up_to)
    if states is None:
        raise InputError(
            "key 'retrieve.source' is 'collaborative', which needs a trained recommender: only the study has one"
        )
    return similar_users(states, chosen.neighbours, chosen.measure, chosen.exact_up_to)


def run(settings: Settings, data: Dataset, embeddings: Embeddings) -> Neighbours:
    """Do the whole stage and write `artifacts/<dataset>/retrieve/neighbours.safetensors`."""
    found = find(settings, data, embeddings)
    with replacing(artifact(settings.data.name, "retrieve") / "neighbours.safetensors") as temporary:
        save_file({name: np.ascontiguousarray(table) for name, table in vars(found).items()}, temporary)
    return found


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
