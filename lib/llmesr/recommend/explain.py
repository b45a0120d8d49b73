"""What of a score comes from where: the views of the item, and the matches with the history."""

from dataclasses import dataclass

import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from llmesr.models.contract import as_query
from llmesr.models.matching import Matcher
from llmesr.models.methods import Method
from llmesr.models.ragged import Ragged


@dataclass(frozen=True)
class Explanation:
    """Why an item has its score.

    Attributes:
        parts: what each view or match gives to the item more than to the average one; may be negative.
        nearest: items of the history that are nearest by LLM embedding, with their `cosine`.
    """

    parts: dict[str, float]
    nearest: pl.DataFrame

    @property
    def score(self) -> float:
        """The item's score above the average one's: the sum of the parts."""
        return sum(self.parts.values())

    @property
    def shares(self) -> dict[str, float]:
        """Each part's share of all that speaks for or against the item; absolute values sum to one."""
        whole = sum(abs(value) for value in self.parts.values()) or 1.0
        return {name: value / whole for name, value in self.parts.items()}


@torch.no_grad()
def contributions(
    model: Method, views: dict[str, Tensor], matcher: Matcher | None, history: Ragged, latest: int
) -> dict[str, Tensor]:
    """Take the scores of all items for one history apart.

    Args:
        model: in evaluation mode.
        views: name → (V + 2, W).
        matcher: the method's, if it has one.
        history: a single sequence.
        latest: T.

    Returns:
        name → (V + 1,), whose sum is the score.
    """
    table = sum(views.values())
    query = as_query(model.backbone.objective, history, torch.arange(1), len(table) - 2, latest, hide_last=False)
    state = model.states(query, F.embedding(query.items, table), last_only=True)[0]
    found = {name: view[:-1] @ state for name, view in views.items()}
    if matcher is None or not matcher.is_fitted:
        return found
    scores = sum(found.values())
    weight = matcher.weights
    parts = (weight[:, None, None] * matcher.parts(scores[None], history))[:, 0]  # (7, V + 1), as `WEIGHTS`
    scaled = {name: weight[0] * values for name, values in found.items()}
    matches = {"match by text": parts[1] + parts[5], "match by who has both": parts[2] + parts[6]}
    return {**scaled, **matches, "popularity": parts[3] + parts[4]}
