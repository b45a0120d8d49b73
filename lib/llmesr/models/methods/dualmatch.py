"""DualMatch, this repository's own method: two views of an item in one vector, and matches with the history at the end.

In training, an item is its text, through one linear map, plus an ID embedding that starts at zero, so that an item
that hardly occurs stays what its text says. The loss is the full-softmax cross-entropy, with a share of each target
given to items that are like it by text (as in SimRec), so that these are not pushed away.

After training, what an item has in common with the history is added to the score: by text, by what follows what, by
what similar users have (`models/matching.py`).
"""

import copy
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmesr.models.backbones.base import Backbone
from llmesr.models.base import Method, TrainContext
from llmesr.models.inputs import ModelInputs, item_table
from llmesr.models.matching import Matcher, MatchSettings, by_halves
from llmesr.models.whitening import location
from llmesr.sequences import Sequences


class TextAndId(nn.Module):
    """Item ids → A(text) + ID embedding."""

    def __init__(self, text: Tensor, hidden: int) -> None:
        super().__init__()
        self.register_buffer("text", text, persistent=False)  # (V + 2, L), frozen
        self.adapter = nn.Linear(text.shape[1], hidden, bias=False)
        self.ids = nn.Embedding(len(text), hidden, padding_idx=0)
        nn.init.zeros_(self.ids.weight)

    def forward(self, items: Tensor) -> Tensor:
        """Return the vectors (…, D) of items (…)."""
        return self.adapter(F.embedding(items, self.text)) + self.ids(items)


class DualMatch(Method):
    """A backbone over text and ID, and a matcher that is fitted when training is over."""

    name = "dualmatch"
    title = "DualMatch"
    loss = "cross_entropy"
    soft_targets = 0.1

    class Settings(MatchSettings):
        """DualMatch's own settings."""

    def __init__(self, settings: "DualMatch.Settings", inputs: ModelInputs, backbone: Backbone) -> None:
        super().__init__(settings, inputs, backbone)
        self.texts = inputs.item_embeddings[1:]  # (V, L)
        self._mean, self._spread = location(self.texts)
        self.table = TextAndId(item_table((self.texts - self._mean) / self._spread), inputs.hidden)  # rows of length 1
        self.matcher = Matcher(len(self.texts), settings)

    def score(self, states: Tensor, table: Tensor, histories: Sequences) -> Tensor:
        """Add the weighted matches to the model's own score: (B, V + 1)."""
        return self.matcher(states @ table.T, histories)

    def on_fit_end(self, context: TrainContext) -> None:
        """List what is similar, and fit the weights to the validation items."""
        with torch.no_grad():
            table = self.item_vectors(torch.arange(len(self.texts) + 1, device=context.sequences.items.device))
            states = context.encode(context.sequences.take(context.validation_users))
            self.matcher.learn(self.texts, lambda some: states[some] @ table.T, context)

    def for_validation(self, users: Tensor) -> list[tuple[Tensor, Method]]:
        """Judge even users by weights that were fitted to odd ones, and the other way round."""
        return by_halves(self, users)

    # --- recommending ---

    def views(self, items: Tensor) -> dict[str, Tensor]:
        """Take the vectors of items apart: what is from the text, and the ID; (…, D) each."""
        return {"text": self.table.adapter(F.embedding(items, self.table.text)), "ID": self.table.ids(items)}

    def contributions(self, state: Tensor, views: Mapping[str, Tensor], history: Sequences) -> dict[str, Tensor]:
        """Take the scores of one history apart: the views, the matches, popularity; (V + 1,) each."""
        own = super().contributions(state, views, history)
        weighted = {name: self.matcher.weights[0] * values for name, values in own.items()}
        return {**weighted, **self.matcher.contributions(history)}

    def from_text(self, embeddings: Tensor) -> dict[str, Tensor]:
        """Place new items, of which there is an LLM embedding (n, L) only."""
        return {"text": self.table.adapter((embeddings - torch.as_tensor(self._mean)) / self._spread)}

    def starts_at_zero(self, view: str) -> bool:
        """Whether zero is what a view has of an item that nobody has had: the ID's first value."""
        return view == "ID"

    def with_new_items(self, item_embeddings: np.ndarray, counts: np.ndarray, new_count: int) -> "DualMatch":
        """Return a method whose matches know further items, which nobody has had."""
        other = copy.deepcopy(self)
        other.matcher = self.matcher.with_new_items(item_embeddings, counts, new_count)
        return other
