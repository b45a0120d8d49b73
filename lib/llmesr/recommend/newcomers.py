"""Items that come after training: placed by their text among those that were trained."""

import faiss
import numpy as np
import torch
from torch import Tensor

from llmesr.models.matching import Matcher
from llmesr.models.methods import Method
from llmesr.models.methods.dualmatch import alike
from llmesr.models.methods.single_view import SingleView
from llmesr.settings import Settings

RESIDUAL = "ID"
"""The view that is added to the text, of which a rare item has next to nothing."""


@torch.no_grad()
def views_of(model: Method, n_items: int) -> dict[str, Tensor]:
    """Take the vectors of all that a sequence may hold apart: name → (V + 2, W), whose sum is what is scored."""
    everything = torch.arange(n_items + 2)
    return model.views(everything) if hasattr(model, "views") else {"item": model.item_vectors(everything)}


@torch.no_grad()
def place(model: Method, views: dict[str, Tensor], known: np.ndarray, new: np.ndarray, settings: Settings) -> dict:
    """Add new items to the views of a trained model, before the row of [MASK].

    A view that text alone gives is computed. One that only interactions give is, by `recommend.prior`, the mean of the
    nearest known items' by text, weighted by cosine, or zero; `own` is zero for an ID that starts at zero in training
    (DualMatch's), and the neighbours' for all others.

    Args:
        model: trained.
        views: name → (V + 2, W).
        known: (V, L) LLM embeddings of the items that are there.
        new: (n, L) of those that come.
        settings: `recommend`.

    Returns:
        name → (V + n + 2, W).
    """
    from_text = model.from_text(torch.from_numpy(new)) if hasattr(model, "from_text") else {}
    chosen = settings.recommend
    found = {}
    for name, table in views.items():
        if name in from_text:
            rows = from_text[name]
        elif chosen.prior == "zero" or (chosen.prior == "own" and name == RESIDUAL):
            rows = table.new_zeros(len(new), table.shape[1])
        else:
            near, weights = nearest_known(known, new, chosen.prior_neighbours)
            rows = torch.einsum("nk,nkw->nw", weights, table[near + 1])  # row 0 is the padding's
        found[name] = torch.cat([table[:-1], rows, table[-1:]])
    return found


def nearest_known(known: np.ndarray, new: np.ndarray, top: int) -> tuple[Tensor, Tensor]:
    """Find of each new item (n, L) the nearest known ones (V, L) by cosine: rows and weights, (n, K) each.

    Weights are the cosines where positive, and sum to one; without a positive one all count the same.
    """
    known, new = (np.array(part, dtype=np.float32, order="C") for part in (known, new))
    for part in (known, new):
        faiss.normalize_L2(part)
    cosines, near = faiss.knn(new, known, min(top, len(known)), metric=faiss.METRIC_INNER_PRODUCT)
    weights = torch.from_numpy(cosines).clamp(min=0)
    weights = torch.where(weights.sum(1, keepdim=True) > 0, weights, torch.ones(()))
    return torch.from_numpy(near), weights / weights.sum(1, keepdim=True)


def grow(matcher: Matcher, model: SingleView, texts: np.ndarray, counts: np.ndarray, settings: Settings) -> Matcher:
    """Let a matcher know items that were added; nobody has had them.

    Args:
        matcher: of V items.
        model: DualMatch, whose statistics of texts and counts stay those of the items that were trained.
        texts: (V + n, L) the new ones last.
        counts: (T,) training counts of the T ≤ V items that were trained.
        settings: `recommend.new_count` is what new items are taken for.
    """
    logs = np.log1p(counts.astype(np.float64))
    popularity = (np.log1p(settings.recommend.new_count) - logs.mean()) / max(logs.std(ddof=1), 1e-6)
    new = len(texts) + 1 - len(matcher.popularity)
    taken_for = torch.full((new,), float(popularity) if model.settings.popularity else 0.0)
    return matcher.grown(alike(texts, texts[: len(counts)], model.settings), taken_for)
