"""What is near what: nearest vectors with faiss, items that the same users have, items that follow each other."""

import faiss
import numpy as np
from scipy.sparse import csr_matrix

from llmesr.sequences import Sequences

SAMPLED, ROUNDS = 40, 10
"""Vectors a cell, and rounds, of the k-means that finds the cells. With faiss's 256 and 25 it costs 16 times as much,
which at a million users is most of the time, and finds .9995 instead of .9955 of the nearest (60,000 users)."""
CELLS_READ = 16
"""Cells of an approximate index that are read for a vector."""
FAR = 50
"""Items between which a transition is counted at most; further apart it would count less than 1/50."""
AT_ONCE = 2**16
"""Vectors that an approximate index is asked about at once."""


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
    """Search all vectors for each of them: scores and rows, (n, top) each.

    Compared with all others, n vectors cost n² comparisons. Beyond a size faiss sorts them into about 4√n cells by
    k-means and reads the nearest cells of each only, which costs some n√n.
    """
    metric = faiss.METRIC_L2 if measure == "l2" else faiss.METRIC_INNER_PRODUCT
    flat = faiss.index_factory(vectors.shape[1], "Flat", metric)
    if exact:
        flat.add(vectors)
        return flat.search(vectors, top)
    cells = min(round(4 * len(vectors) ** 0.5), len(vectors))
    index = faiss.index_factory(vectors.shape[1], f"IVF{cells},Flat", metric)
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

    They read the same cells, which then come from the processor's cache: three times as fast at a million vectors.
    """
    _, cells = index.quantizer.search(vectors, 1)
    order = np.argsort(cells[:, 0], kind="stable")
    scores, found = np.empty((len(vectors), top), np.float32), np.empty((len(vectors), top), np.int64)
    for rows in np.split(order, range(AT_ONCE, len(order), AT_ONCE)):
        scores[rows], found[rows] = index.search(vectors[rows], top)
    return scores, found


def incidence(sequences: Sequences, n_items: int) -> csr_matrix:
    """Say who has which item, however often: (B, V + 1) float32 of ones."""
    items, offsets = sequences.items.cpu().numpy(), sequences.offsets.cpu().numpy()
    matrix = csr_matrix((np.ones(len(items), np.float32), items, offsets), (len(sequences), n_items + 1), copy=True)
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def text_similarity(vectors: np.ndarray, neighbours: int, exact_up_to: int) -> csr_matrix:
    """Find each item's nearest ones by cosine.

    Args:
        vectors: (V, L) of items 1 … V.
        neighbours: K; fewer items than K + 1 give V - 1.
        exact_up_to: more items than this are searched approximately.

    Returns:
        (V + 1, V + 1) cosines, K a row where they are positive; row and column 0, the padding's, are empty.
    """
    shape = (len(vectors) + 1,) * 2
    if len(vectors) < 2:
        return csr_matrix(shape, dtype=np.float32)
    found, scores = nearest(vectors, neighbours, "cosine", exact_up_to)
    rows = np.repeat(np.arange(1, len(vectors) + 1), found.shape[1])
    similarity = csr_matrix((scores.ravel().clip(min=0), (rows, found.ravel() + 1)), shape)
    similarity.eliminate_zeros()
    return similarity


def cooccurrence(train: Sequences, n_items: int, neighbours: int) -> csr_matrix:
    """Find the items that share most users with each item, by the cosine of their columns in training.

    Returns:
        (V + 1, V + 1) cosines, at most K a row; an item is not its own neighbour. Of equal ones the first are kept.
    """
    has = incidence(train, n_items)  # (U, V + 1)
    norms = np.sqrt(np.asarray(has.sum(0)).ravel()).clip(min=1)
    shared = (has.T @ has).tocsr()  # how many users have both
    shared.setdiag(0)
    shared.eliminate_zeros()
    shared.sort_indices()
    shared.data /= norms[shared.indices] * np.repeat(norms, np.diff(shared.indptr))
    return _largest(shared, neighbours)


def transitions(train: Sequences, n_items: int, neighbours: int) -> csr_matrix:
    """Find the items that follow each item: Σ 1/distance over all pairs in training histories, over √(n_i n_j).

    n counts an item's training interactions. Pairs further apart than `FAR` are not counted.

    Returns:
        (V + 1, V + 1), at most K a row; nothing follows itself. Of equal ones the first are kept.
    """
    items, row, shape = train.items.cpu().numpy(), train.row.cpu().numpy(), (n_items + 1,) * 2
    found = csr_matrix(shape, dtype=np.float32)
    for distance in range(1, min(FAR, int(train.lengths.max()) - 1) + 1):
        first = np.flatnonzero(row[:-distance] == row[distance:])
        ones = np.full(len(first), 1 / distance, np.float32)
        found += csr_matrix((ones, (items[first], items[first + distance])), shape)
    found.setdiag(0)
    found.eliminate_zeros()
    found.sort_indices()
    norms = np.sqrt(np.bincount(items, minlength=n_items + 1).clip(min=1)).astype(np.float32)
    found.data /= norms[found.indices] * np.repeat(norms, np.diff(found.indptr))
    return _largest(found, neighbours)


def _largest(matrix: csr_matrix, k: int) -> csr_matrix:
    """Keep the k largest values of each row."""
    kept = np.zeros(matrix.nnz, bool)
    for start, end in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
        kept[start + np.argsort(-matrix.data[start:end], kind="stable")[:k]] = True
    matrix.data[~kept] = 0
    matrix.eliminate_zeros()
    return matrix
