"""Looks at embeddings, for the lessons."""

import numpy as np
import polars as pl
from sklearn.decomposition import PCA

from llmesr.prepare.dataset import Dataset


def nearest_items(embeddings: np.ndarray, data: Dataset, item: int, k: int) -> pl.DataFrame:
    """List the k items whose embeddings have the greatest cosine with one item's, itself first.

    Args:
        embeddings: (V + 1, L); row 0 is padding.
        data: for titles and training counts.
        item: id from 1 to V.
        k: how many.
    """
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True).clip(min=1e-12)
    cosine = unit @ unit[item]
    cosine[0] = -np.inf
    order = np.argsort(-cosine, kind="stable")[:k]
    counts = np.concatenate([[0], data.items["count"].to_numpy()])
    return pl.DataFrame(
        {
            "item": order,
            "title": [data.titles[i] for i in order],
            "trained on": counts[order],
            "cosine": cosine[order].round(3),
        }
    )


def explained_variance(embeddings: np.ndarray) -> np.ndarray:
    """Return the cumulative share of variance that the leading principal components keep: (min(V, L),)."""
    return np.cumsum(PCA().fit(embeddings[1:]).explained_variance_ratio_)
