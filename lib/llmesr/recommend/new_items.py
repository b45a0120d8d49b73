"""Items that come after training: their vectors are computed from their text and from items that were trained."""

import faiss
import numpy as np
import torch
from torch import Tensor

from llmesr.models.base import Method
from llmesr.models.scoring import inference
from llmesr.settings import RecommendSettings


def trained_views(method: Method, n_items: int) -> dict[str, Tensor]:
    """Take the vectors of items 1 … V and of [MASK] apart: name → (V + 2, W), whose sum is what is scored."""
    with inference(method):
        return method.views(torch.arange(n_items + 2))


def extend(
    method: Method, views: dict[str, Tensor], known: np.ndarray, new: np.ndarray, settings: RecommendSettings
) -> dict[str, Tensor]:
    """Add new items to the views of a trained method, before the row of [MASK].

    A view that text alone gives is computed. One that only interactions give is, by `recommend.prior`, the mean of the
    nearest known items' by text, weighted by cosine, or zero; `own` is zero where the method says so
    (`starts_at_zero`), and the neighbours' for all other views.

    Args:
        method: trained.
        views: name → (V + 2, W).
        known: (V, L) LLM embeddings of the items that were trained.
        new: (n, L) of the new ones.
        settings: `recommend`.

    Returns:
        name → (V + n + 2, W).
    """
    with inference(method):
        from_text = method.from_text(torch.from_numpy(new))
    extended = {}
    for name, table in views.items():
        if name in from_text:
            rows = from_text[name]
        elif settings.prior == "zero" or (settings.prior == "own" and method.starts_at_zero(name)):
            rows = table.new_zeros(len(new), table.shape[1])
        else:
            nearest, weights = nearest_known(known, new, settings.prior_neighbours)
            rows = torch.einsum("nk,nkw->nw", weights, table[nearest + 1])  # row 0 is the padding's
        extended[name] = torch.cat([table[:-1], rows, table[-1:]])
    return extended


def nearest_known(known: np.ndarray, new: np.ndarray, top: int) -> tuple[Tensor, Tensor]:
    """Find the nearest known items (V, L) of each new one (n, L) by cosine: rows and weights, (n, K) each.

    Weights are the cosines where positive, and sum to one; without a positive one all count the same.
    """
    known, new = (np.array(part, dtype=np.float32, order="C") for part in (known, new))
    for part in (known, new):
        faiss.normalize_L2(part)
    cosines, nearest = faiss.knn(new, known, min(top, len(known)), metric=faiss.METRIC_INNER_PRODUCT)
    weights = torch.from_numpy(cosines).clamp(min=0)
    weights = torch.where(weights.sum(1, keepdim=True) > 0, weights, torch.ones(()))
    return torch.from_numpy(nearest), weights / weights.sum(1, keepdim=True)
