"""Top-N similar users: our exact faiss search against all cosines as one matrix, and as a matrix in blocks."""

import os
import time
from pathlib import Path

import numpy as np
from llmesr import embed, retrieve
from llmesr.settings import load

from benchmarks.timing import read_job, report

BLOCK = 512
"""Users whose cosines with all others the blocked search holds at once."""
BYTES_A_PAIR = 12
"""A float32 cosine and, from `argpartition`, an int64 index."""


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale rows to length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def in_blocks(vectors: np.ndarray, N: int, block: int) -> np.ndarray:
    """Find the N most similar other users of every user from cosines of `block` users at a time: (U, N), sorted.

    Args:
        vectors: (U, L).
        N: how many.
        block: U makes it the one matrix.
    """
    vectors = unit(vectors)
    found = []
    for start in range(0, len(vectors), block):
        cosines = vectors[start : start + block] @ vectors.T  # (b, U)
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf  # never oneself
        best = np.argpartition(cosines, -N, axis=1)[:, -N:]
        order = np.argsort(-np.take_along_axis(cosines, best, 1), axis=1, kind="stable")
        found.append(np.take_along_axis(best, order, 1))
    return np.concatenate(found)


def vectors_of(params: str, users: int) -> np.ndarray:
    """Take the dataset's user embeddings, or, for a number of users, random vectors as wide."""
    real = embed.load(load(params).dataset).users
    if not users:
        return real
    return np.random.default_rng(0).normal(size=(users, real.shape[1])).astype(np.float32)


def main() -> None:
    """Measure one system."""
    job = read_job()
    vectors, N = vectors_of(job["params"], job["users"]), load(job["params"]).retrieve.neighbours
    needed = BYTES_A_PAIR * len(vectors) ** 2
    if job["system"] == "dense" and needed > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2:
        report({}, f"not run: needs {needed / 2**30:.0f} GB, more than half of the memory")
        return
    began = time.perf_counter()
    if job["system"] == "ours":
        found = retrieve.similar_users(vectors, N, "cosine", len(vectors)).users
    else:
        found = in_blocks(vectors, N, len(vectors) if job["system"] == "dense" else BLOCK)
    values = {"seconds": time.perf_counter() - began}
    file = Path(job["folder"]) / f"neighbours-{job['users']}.npy"
    if job["system"] == "ours":
        np.save(file, found)
    else:
        values["same_neighbours"] = _shared(found, np.load(file))
    report(values)


def _shared(found: np.ndarray, other: np.ndarray) -> float:
    """Compute the share of neighbours (U, N) that both have."""
    both = np.sort(np.concatenate([found, other], 1), axis=1)
    return float((both[:, 1:] == both[:, :-1]).sum() / found.size)


if __name__ == "__main__":
    main()
