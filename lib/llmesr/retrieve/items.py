"""Items that are alike, by their text and by who has both: short lists, no training."""

import warnings

import numpy as np
from implicit.nearest_neighbours import CosineRecommender
from scipy.sparse import csr_matrix

from llmesr.prepare.dataset import Sequences, baskets
from llmesr.retrieve import nearest


def alike_by_text(vectors: np.ndarray, neighbours: int, exact_up_to: int) -> csr_matrix:
    """Find each item's nearest ones by cosine.

    Args:
        vectors: (V, L) of items 1..V.
        neighbours: K; fewer items than K + 1 give V - 1.
        exact_up_to: more items than this are searched approximately.

    Returns:
        (V + 1, V + 1) cosines, K a row where they are positive; row and column 0, the padding's, are empty.
    """
    if len(vectors) < 2:
        return csr_matrix((len(vectors) + 1,) * 2, dtype=np.float32)
    found, scores = nearest(vectors, neighbours, "cosine", exact_up_to)
    rows = np.repeat(np.arange(1, len(vectors) + 1), found.shape[1])
    similarity = csr_matrix((scores.ravel().clip(min=0), (rows, found.ravel() + 1)), shape=(len(vectors) + 1,) * 2)
    similarity.eliminate_zeros()
    return similarity


def bought_together(train: Sequences, n_items: int, neighbours: int) -> csr_matrix:
    """Find the items that share most users with each item, by the cosine of their columns in training.

    Returns:
        (V + 1, V + 1) cosines, at most K a row; an item is not its own neighbour.
    """
    model = CosineRecommender(K=neighbours + 1, num_threads=1)
    with warnings.catch_warnings():  # about a conversion inside the library
        warnings.filterwarnings("ignore", message="Method expects CSR input")
        model.fit(baskets(train, n_items), show_progress=False)
    similarity = csr_matrix(model.similarity, dtype=np.float32)
    similarity.setdiag(0)
    similarity.eliminate_zeros()
    return similarity
