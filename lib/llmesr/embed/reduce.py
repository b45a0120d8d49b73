"""PCA of the item embeddings to the hidden size: the first value of the collaborative table (Sec. 3.2)."""

import numpy as np
from sklearn.decomposition import PCA

from llmesr.errors import InputError


def reduce(embeddings: np.ndarray, hidden: int) -> np.ndarray:
    """Project embeddings on their `hidden` leading principal components.

    Fewer items or dimensions than `hidden` leave the last columns zero.

    Args:
        embeddings: (V, L).
        hidden: D.

    Returns:
        (V, D) float32, centred; deterministic, the sign of each component fixed by scikit-learn.

    Raises:
        InputError: the embeddings are not finite.
    """
    if not np.isfinite(embeddings).all():
        raise InputError("the item embeddings are not finite: check the encoder in 'embed.encoder'")
    components = min(hidden, *embeddings.shape)
    projected = PCA(components, svd_solver="full").fit_transform(embeddings.astype(np.float64))
    return np.pad(projected, ((0, 0), (0, hidden - components))).astype(np.float32)
