"""DualMatch, this repository's own method: two views of an item in one vector, and matches with the history at the end.

In training, an item is its text, through one linear map, plus an ID embedding that starts at zero, so that an item
that hardly occurs stays what its text says. The loss is the likelihood of the next item among all.
After training, what is like the items of a history, by text and by who has both, is added to the score
(`models/matching.py`); seven weights for that are the most likely ones on validation.
"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from llmesr.models.contract import Overview
from llmesr.models.ingredients import Ingredients, for_items
from llmesr.models.matching import Matcher
from llmesr.models.methods.single_view import SingleView
from llmesr.models.whitening import location, whiten
from llmesr.prepare.dataset import Sequences
from llmesr.retrieve.items import alike_by_text, bought_together
from llmesr.settings import DualMatch as DualMatchSettings


def alike(texts: np.ndarray, trained: np.ndarray, settings: DualMatchSettings) -> csr_matrix:
    """List the items that are alike by text, whitened by the statistics of those that were trained."""
    vectors = whiten(texts, power=settings.whitening, of=trained)
    return alike_by_text(vectors, settings.neighbours, settings.exact_up_to)


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
        text, own = self.views(items).values()
        return text + own

    def views(self, items: Tensor) -> dict[str, Tensor]:
        """Return both parts of items (…): (…, D) each."""
        return {"text": self.adapter(F.embedding(items, self.text)), "ID": self.ids(items)}


class DualMatch(SingleView):
    """A backbone over text and ID, and a matcher that is fitted when training is over."""

    def __init__(self, given: Ingredients, settings: DualMatchSettings) -> None:
        texts = given.embeddings.items[1:]
        self._mean, self._spread = location(texts)
        rows = (texts - self._mean) / self._spread  # of length about one
        super().__init__(given.backbone, TextAndId(for_items(rows), given.hidden))
        self.matcher = Matcher(len(texts), settings.neighbours)
        self.settings = settings
        self._texts = texts

    def views(self, items: Tensor) -> dict[str, Tensor]:
        """Take the vectors of items apart: what is from the text, and the ID."""
        return self.table.views(items)

    def from_text(self, texts: Tensor) -> dict[str, Tensor]:
        """Place new items, of which there is an LLM embedding (n, L) only."""
        return {"text": self.table.adapter((texts - torch.as_tensor(self._mean)) / self._spread)}

    def finish(self, overview: Overview) -> None:
        """Make the lists of items that are alike, and fit the weights to the validation items."""
        matcher, settings, sequences = self.matcher, self.settings, overview.sequences
        n_items = len(self._texts)
        if settings.text:
            matcher.text.fill(alike(self._texts, self._texts, settings))
        if settings.together:
            train = Sequences(sequences.items.cpu().numpy(), sequences.offsets.cpu().numpy())
            matcher.together.fill(bought_together(train, n_items, settings.neighbours))
        if settings.popularity:
            matcher.note_popularity(sequences.items)
        histories = sequences.take(overview.asked)
        with torch.no_grad():
            table = self.item_vectors(torch.arange(n_items + 1, device=sequences.items.device))
            states = overview.encode(histories)
            matcher.fit(lambda some: states[some] @ table.T, histories, overview.answers, overview.seed)


def build(settings: DualMatchSettings, given: Ingredients) -> DualMatch:
    """Build DualMatch."""
    return DualMatch(given, settings)
