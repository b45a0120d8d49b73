"""DualMatch, this repository's own method: two views of an item in one vector, and matches with the history at the end.

In training, an item is its text, through one linear map, plus an ID embedding that starts at zero, so that an item
that hardly occurs stays what its text says. The loss is the full-softmax cross-entropy.

After training, what is like the items of a history, by text and by co-occurrence, is added to the score. How much each
match counts beside the model's own score, and how that depends on an item's popularity, are seven weights that are
fitted by maximum likelihood on validation data.
"""

import copy
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from llmesr.models.backbones.base import Backbone
from llmesr.models.base import Method, TrainContext
from llmesr.models.inputs import ModelInputs, item_table
from llmesr.models.whitening import location, whiten
from llmesr.section import Fraction, Positive, Section
from llmesr.sequences import Sequences
from llmesr.similarity import cooccurrence, text_similarity

WEIGHTS = (
    "score",
    "text",
    "cooccurrence",
    "popularity",
    "popularity²",
    "text × popularity",
    "cooccurrence × popularity",
)
"""The square is there for items that are rare in training because they are new."""
MOST_COLUMNS = 2**13
"""Items among which the weights are fitted at most, drawn at random."""
MOST_SCORES = 2**24
"""Scores that the weights are fitted to at most."""
STEPS = 100


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


class SimilarItems(nn.Module):
    """For each item the items that are like it, and how much: (V + 1, K) each, filled up by item 0 and zero.

    An item is not like itself: where evaluation leaves out what a user has had, except the target, that would give
    away a target that was had before.
    """

    def __init__(self, n_items: int, neighbours: int) -> None:
        super().__init__()
        self.register_buffer("items", torch.zeros(n_items + 1, neighbours, dtype=torch.int32))
        self.register_buffer("values", torch.zeros(n_items + 1, neighbours))

    def fill(self, similarity: csr_matrix) -> None:
        """Take over a sparse matrix (V + 1, V + 1), of each row the K largest."""
        self.items.zero_()
        self.values.zero_()
        for row in np.flatnonzero(np.diff(similarity.indptr)):
            part = slice(similarity.indptr[row], similarity.indptr[row + 1])
            best = np.argsort(-similarity.data[part], kind="stable")[: self.items.shape[1]]
            self.items[row, : len(best)] = torch.from_numpy(similarity.indices[part][best].astype(np.int32))
            self.values[row, : len(best)] = torch.from_numpy(similarity.data[part][best])

    def match(self, histories: Sequences, pool: str) -> Tensor:
        """Pool the similar items of each history's items by `amax` or `sum`: (B, V + 1), zero where nothing is alike.

        An item that occurs twice counts once.
        """
        width = len(self.items)
        pairs = (histories.row * width + histories.items).unique()
        row, item = pairs // width, pairs % width
        place = row[:, None] * width + self.items[item].long()  # (N, K)
        scores = self.values.new_zeros(len(histories) * width)
        scores.scatter_reduce_(0, place.flatten(), self.values[item].flatten(), pool)
        return scores.view(len(histories), width)


class Matcher(nn.Module):
    """Both matches and their weights.

    Attributes:
        weights: (7,) as `WEIGHTS`; until they are fitted only the model's own score counts.
        popularity: (V + 1,) log(1 + training count), standardised over items.
    """

    def __init__(self, n_items: int, neighbours: int) -> None:
        super().__init__()
        self.text, self.cooccurrence = SimilarItems(n_items, neighbours), SimilarItems(n_items, neighbours)
        self.register_buffer("popularity", torch.zeros(n_items + 1))
        self.register_buffer("weights", F.one_hot(torch.tensor(0), len(WEIGHTS)).float())

    def set_popularity(self, train: Tensor) -> None:
        """Count how popular each item is in training items (N,)."""
        logs = torch.bincount(train, minlength=len(self.popularity)).float().log1p()
        self.popularity.copy_((logs - logs[1:].mean()) / logs[1:].std(correction=min(1, len(logs) - 2)).clamp(min=1e-6))

    def parts(self, scores: Tensor, histories: Sequences) -> Tensor:
        """List what is weighted, as `WEIGHTS`: (7, B, V + 1)."""
        text, both = self.text.match(histories, "amax"), self.cooccurrence.match(histories, "sum")
        popular = self.popularity.expand_as(scores)
        return torch.stack([scores, text, both, popular, popular**2, text * popular, both * popular])

    def forward(self, scores: Tensor, histories: Sequences) -> Tensor:
        """Return the weighted sum of `parts`, (B, V + 1), without holding all seven."""
        if not self.weights[1:].any():
            return scores * self.weights[0]
        w, popular = self.weights, self.popularity
        text, both = self.text.match(histories, "amax"), self.cooccurrence.match(histories, "sum")
        total = w[0] * scores + (w[3] * popular + w[4] * popular**2)
        return total.addcmul_(text, w[1] + w[5] * popular).addcmul_(both, w[2] + w[6] * popular)

    def fit(self, score: Callable[[Tensor], Tensor], histories: Sequences, targets: Tensor, seed: int) -> None:
        """Fit the weights by maximum likelihood of held-out items, among all that their users have not had.

        Of very many items and users a random part is looked at, a block of users at a time.

        Args:
            score: rows of the histories (b,) → the model's own scores (b, V + 1).
            histories: n.
            targets: (n,) the held-out items.
            seed: of the random part.
        """
        width = len(self.popularity)
        generator = torch.Generator().manual_seed(seed)
        columns = torch.randperm(width - 1, generator=generator)[:MOST_COLUMNS].sort().values.to(targets.device) + 1
        most = max(1, MOST_SCORES // len(columns))
        rows = torch.randperm(len(targets), generator=generator)[:most].sort().values.to(targets.device)
        blocks = [
            self._target_first(score(some), histories.take(some), targets[some, None], columns)
            for some in rows.split(max(1, MOST_SCORES // width))
        ]
        parts, excluded = (torch.cat(block, -2) for block in zip(*blocks, strict=True))
        self.weights.copy_(_maximum_likelihood(parts, excluded, self.weights))

    def _target_first(
        self, scores: Tensor, histories: Sequences, targets: Tensor, columns: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Put the parts of the targets (b, 1) before those of the columns: (7, b, 1 + m), and which are left out."""
        parts = self.parts(scores, histories)
        excluded = torch.zeros_like(scores, dtype=torch.bool)
        excluded[histories.row, histories.items] = True
        excluded.scatter_(1, targets, value=True)  # which stands in front instead
        own = parts.gather(2, targets.expand(len(parts), -1, 1))  # (7, b, 1)
        return torch.cat([own, parts[:, :, columns]], 2), F.pad(excluded[:, columns], (1, 0))


def _maximum_likelihood(parts: Tensor, excluded: Tensor, start: Tensor) -> Tensor:
    """Maximise the softmax likelihood of column 0 of Σ w · parts (7, n, 1 + m) over w (7,): a convex problem."""
    spread = parts.flatten(1).std(1).clamp(min=1e-6)  # parts of one spread are easier to descend on
    parts = parts / spread[:, None, None]
    weights = (start * spread).requires_grad_()
    targets = torch.zeros(parts.shape[1], dtype=torch.int64, device=parts.device)
    optimizer = torch.optim.LBFGS([weights], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(torch.tensordot(weights, parts, 1).masked_fill(excluded, float("-inf")), targets)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    return weights.detach() / spread


class DualMatch(Method):
    """A backbone over text and ID, and a matcher that is fitted when training is over."""

    name = "dualmatch"
    title = "DualMatch"
    loss = "cross_entropy"

    class Settings(Section):
        """DualMatch's own settings."""

        neighbours: Positive = 100
        """K, the similar items that are kept for each item."""
        text: bool = True
        """Match by text."""
        cooccurrence: bool = True
        """Match by co-occurrence in training histories."""
        popularity: bool = True
        """The weights of the matches depend on an item's popularity, which has a weight of its own."""
        whitening: Fraction = 0.75
        """Whitening of the texts that are matched, from not at all (0) to fully (1)."""
        exact_up_to: Positive = 50000
        """More items than this are matched by text approximately."""

    def __init__(self, settings: "DualMatch.Settings", inputs: ModelInputs, backbone: Backbone) -> None:
        super().__init__(settings, inputs, backbone)
        self.texts = inputs.item_embeddings[1:]  # (V, L)
        self._mean, self._spread = location(self.texts)
        self.table = TextAndId(item_table((self.texts - self._mean) / self._spread), inputs.hidden)  # rows of length 1
        self.matcher = Matcher(len(self.texts), settings.neighbours)

    def score(self, states: Tensor, table: Tensor, histories: Sequences) -> Tensor:
        """Add the weighted matches to the model's own score: (B, V + 1)."""
        return self.matcher(states @ table.T, histories)

    def on_fit_end(self, context: TrainContext) -> None:
        """List the similar items, and fit the weights to the validation items."""
        sequences, n_items = context.sequences, len(self.texts)
        if self.settings.text:
            self.matcher.text.fill(self._similar_texts(self.texts, self.texts))
        if self.settings.cooccurrence:
            self.matcher.cooccurrence.fill(cooccurrence(sequences, n_items, self.settings.neighbours))
        if self.settings.popularity:
            self.matcher.set_popularity(sequences.items)
        histories = sequences.take(context.validation_users)
        with torch.no_grad():
            table = self.item_vectors(torch.arange(n_items + 1, device=sequences.items.device))
            states = context.encode(histories)
            self.matcher.fit(lambda some: states[some] @ table.T, histories, context.validation_items, context.seed)

    def _similar_texts(self, texts: np.ndarray, trained: np.ndarray) -> csr_matrix:
        """Find items that are alike by text, whitened by the statistics of those that were trained."""
        vectors = whiten(texts, power=self.settings.whitening, of=trained)
        return text_similarity(vectors, self.settings.neighbours, self.settings.exact_up_to)

    # --- recommending ---

    def views(self, items: Tensor) -> dict[str, Tensor]:
        """Take the vectors of items apart: what is from the text, and the ID; (…, D) each."""
        return {"text": self.table.adapter(F.embedding(items, self.table.text)), "ID": self.table.ids(items)}

    def contributions(self, state: Tensor, views: Mapping[str, Tensor], history: Sequences) -> dict[str, Tensor]:
        """Take the scores of one history apart: the views, the two matches, popularity; (V + 1,) each."""
        own = super().contributions(state, views, history)
        weights, scores = self.matcher.weights, sum(own.values())
        parts = (weights[:, None, None] * self.matcher.parts(scores[None], history))[:, 0]  # (7, V + 1), as `WEIGHTS`
        weighted = {name: weights[0] * values for name, values in own.items()}
        matches = {"match by text": parts[1] + parts[5], "match by co-occurrence": parts[2] + parts[6]}
        return {**weighted, **matches, "popularity": parts[3] + parts[4]}

    def from_text(self, embeddings: Tensor) -> dict[str, Tensor]:
        """Place new items, of which there is an LLM embedding (n, L) only."""
        return {"text": self.table.adapter((embeddings - torch.as_tensor(self._mean)) / self._spread)}

    def starts_at_zero(self, view: str) -> bool:
        """Whether zero is what a view has of an item that nobody has had: the ID's first value."""
        return view == "ID"

    def with_new_items(self, item_embeddings: np.ndarray, counts: np.ndarray, new_count: int) -> "DualMatch":
        """Return a method whose matches know further items, which nobody has had."""
        known, n_items = len(self.matcher.popularity) - 1, len(item_embeddings)
        grown = Matcher(n_items, self.settings.neighbours)
        if self.settings.text:
            grown.text.fill(self._similar_texts(item_embeddings, item_embeddings[: len(counts)]))
        grown.cooccurrence.items[: known + 1].copy_(self.matcher.cooccurrence.items)
        grown.cooccurrence.values[: known + 1].copy_(self.matcher.cooccurrence.values)
        logs = np.log1p(counts.astype(np.float64))
        taken_for = (np.log1p(new_count) - logs.mean()) / max(logs.std(ddof=1), 1e-6) if self.settings.popularity else 0
        grown.popularity.fill_(float(taken_for))[: known + 1].copy_(self.matcher.popularity)
        grown.weights.copy_(self.matcher.weights)
        other = copy.deepcopy(self)
        other.matcher = grown
        return other
