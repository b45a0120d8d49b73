"""A set of views instead of two: text, ID, and whatever else is known of an item, fused into one vector.

The trunk is that of DualMatch without its matches: frozen vectors of each modality through a linear map, an ID
embedding that starts at zero, and the likelihood of the next item among all. A modality that does not know an item is
left out, or a learned token stands for it; modality dropout in training leaves out others at random.
"""

from itertools import combinations
from math import factorial

import numpy as np
import torch
from torch import Tensor

from llmesr.embed import Embeddings, View
from llmesr.errors import InputError
from llmesr.models.fusion import Views
from llmesr.models.ingredients import Ingredients, for_items
from llmesr.models.methods.single_view import SingleView
from llmesr.settings import MultiView as MultiViewSettings

TEXT = "text"


def view(embeddings: Embeddings, name: str) -> View:
    """Find a view by its name.

    Raises:
        InputError: it is not attached to the embeddings.
    """
    if name == TEXT:
        known = np.arange(len(embeddings.items)) > 0
        return View(embeddings.items, known)
    if name not in embeddings.views:
        raise InputError(
            f"key 'methods.multiview.views' names '{name}', which only a variant of the study can have: a run of the "
            "matrix has 'text'"
        )
    return embeddings.views[name]


def standardised(found: View) -> tuple[Tensor, Tensor]:
    """Centre the vectors of the items that a view knows, to a length of about one: (V + 2, L), and which (V + 2,)."""
    known = found.present[1:]
    rows = found.vectors[1:]
    centred = np.where(known[:, None], rows - rows[known].mean(0), 0.0)
    spread = max(float((centred[known] ** 2).sum(1).mean()) ** 0.5, 1e-12)
    return for_items(centred / spread), for_items(known[:, None])[:, 0].bool()


def build(settings: MultiViewSettings, given: Ingredients) -> SingleView:
    """Build the backbone on the views that the settings name.

    Raises:
        InputError: a view was not made.
    """
    views = {name: standardised(view(given.embeddings, name)) for name in settings.views}
    table = Views(
        views, given.hidden, settings.fusion, settings.missing, settings.modality_dropout, settings.heads, settings.rank
    )
    return SingleView(given.backbone, table)


@torch.no_grad()
def shares(model: SingleView, state: Tensor, items: Tensor) -> dict[str, Tensor]:
    """Share the scores of items out to the views: each view's Shapley value, exact, and what the rest gives.

    A view's share is what it adds to the score, averaged over all orders in which the views could have come; one that
    does not know an item adds nothing. The shares sum to the scores. What is left without any view is the ID's, and
    that of the tokens which then stand for all views, if there are any.

    Args:
        model: in evaluation mode.
        state: (D,) of a user.
        items: (n,).

    Returns:
        (n,) for each view, and for `ID`, or `ID and tokens`.
    """
    table: Views = model.table
    names, worth = table.names, {}
    for size in range(len(names) + 1):
        for some in combinations(names, size):
            table.hidden_views = frozenset(names) - frozenset(some)
            worth[frozenset(some)] = table(items) @ state
    table.hidden_views = frozenset()
    found = {"ID and tokens" if table.missing == "token" else "ID": worth[frozenset()]}
    for name in names:
        others = [other for other in names if other != name]
        found[name] = torch.zeros(len(items))
        for size in range(len(names)):
            weight = factorial(size) * factorial(len(names) - size - 1) / factorial(len(names))
            for some in map(frozenset, combinations(others, size)):
                found[name] += weight * (worth[some | {name}] - worth[some])
    return found
