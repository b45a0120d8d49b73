"""Stage 03: the users who are similar by LLM embedding, found with faiss."""

from dataclasses import dataclass

import faiss
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from llmesr.embed import Embeddings
from llmesr.errors import InputError
from llmesr.paths import artifact, replacing, shown
from llmesr.settings import Settings


@dataclass(frozen=True)
class Neighbours:
    """The teachers of each user.

    Attributes:
        users: (U, N) rows of the similar users, most similar first, never the user itself.
        scores: (U, N) their cosine, inner product, or squared L2 distance.
    """

    users: np.ndarray
    scores: np.ndarray


def similar_users(embeddings: np.ndarray, neighbours: int, measure: str) -> Neighbours:
    """Find the top-N similar users of every user by exact search (Sec. 3.3).

    Args:
        embeddings: (U, L) float32.
        neighbours: N; fewer users than N + 1 give U - 1.
        measure: `cosine`, `inner_product` or `l2`.

    Raises:
        InputError: there is one user only, so nobody can teach.
    """
    n_users = len(embeddings)
    if n_users < 2:
        raise InputError("similar users need at least 2 users: the dataset has 1")
    vectors = np.ascontiguousarray(embeddings, dtype=np.float32)
    if measure == "cosine":
        vectors = vectors.copy()
        faiss.normalize_L2(vectors)
    index = faiss.IndexFlatL2(vectors.shape[1]) if measure == "l2" else faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    top = min(neighbours, n_users - 1)
    scores, found = index.search(vectors, top + 1)
    # The user itself is usually, but not always, among the top N + 1: users with equal texts have equal vectors,
    # and by inner product a longer vector can come first. Drop the user where found, else the last.
    drop = found == np.arange(n_users)[:, None]
    drop[~drop.any(1), -1] = True
    return Neighbours(found[~drop].reshape(n_users, top).astype(np.int64), scores[~drop].reshape(n_users, top))


def run(settings: Settings, embeddings: Embeddings) -> Neighbours:
    """Do the whole stage and write `artifacts/<dataset>/retrieve/neighbours.safetensors`."""
    found = similar_users(embeddings.users, settings.retrieve.neighbours, settings.retrieve.measure)
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
