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

from llmesr.embed import TEXT, Embeddings, View
from llmesr.errors import InputError
from llmesr.models.fusion import Views
from llmesr.models.ingredients import Ingredients, for_items
from llmesr.models.methods.single_view import SingleView
from llmesr.models.whitening import location
from llmesr.settings import MultiView as MultiViewSettings


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


def standardised(given: View) -> tuple[Tensor, Tensor]:
    """Centre the vectors of the items that a view knows, to a length of about one: (V + 2, L), and which (V + 2,)."""
    known, rows = given.present[1:], given.vectors[1:]
    mean, spread = location(rows[known])
    found = np.where(known[:, None], (rows - mean) / spread, 0.0)
    return for_items(found), for_items(known[:, None])[:, 0].bool()


def build(settings: MultiViewSettings, given: Ingredients) -> SingleView:
    """Build the backbone on the views that the settings name.

    Raises:
        InputError: a view was not made.
    """
    views = {name: standardised(view(given.embeddings, name)) for name in settings.views}
    return SingleView(given.backbone, Views(views, given.hidden, settings))


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
            worth[frozenset(some)] = table(items, without=set(names) - set(some)) @ state
    found = {"ID and tokens" if table.missing == "token" else "ID": worth[frozenset()]}
    for name in names:
        others = [other for other in names if other != name]
        found[name] = torch.zeros_like(worth[frozenset()])
        for size in range(len(names)):
            weight = factorial(size) * factorial(len(names) - size - 1) / factorial(len(names))
            for some in map(frozenset, combinations(others, size)):
                found[name] += weight * (worth[some | {name}] - worth[some])
    return found
