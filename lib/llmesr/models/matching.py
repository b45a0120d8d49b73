"""Matches: scores of items for what they have in common with a history. No gradient, no epochs.

Four of them. An item matches a history by the one item whose text is nearest to its own, by the texts of all, by what
usually follows them, and by what users with similar histories have. The latest item of a history counts 1, the one
before it 1/2, then 1/3 and so on, but for the nearest text. How much each match counts beside a model's own score, and
how that depends on an item's popularity, are eleven weights that are fitted by maximum likelihood on validation data.
"""

import copy
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from llmesr.models.base import Method, TrainContext
from llmesr.models.whitening import whiten
from llmesr.section import Fraction, Positive, Section
from llmesr.sequences import Sequences
from llmesr.similarity import text_similarity, transitions

MATCHES = ("nearest text", "texts", "transitions", "similar users")
"""In the order of their weights."""
MOST_COLUMNS = 2**10
"""Items that a held-out item is compared with at most, for each user others, drawn at random. Weights that are fitted
so are those of all items but for chance (McFadden, 1978)."""
MOST_SCORES = 2**24
"""Scores that the weights are fitted to at most."""
STEPS = 60
READ = 200
"""Latest items of a compared user that are read: they are held in a rectangle, as wide as the longest."""
RIDGE = 1e-4
"""Of the squared weights of standardised parts: with few validation users some would grow without end."""


class MatchSettings(Section):
    """Which matches there are."""

    text: bool = True
    """Match by text: the nearest one, and all."""
    transitions: bool = True
    """Match by what follows what in training."""
    users: bool = True
    """Match by what users with similar histories have."""
    popularity: bool = True
    """The weights depend on an item's popularity, which has a weight of its own."""
    neighbours: Positive = 100
    """K, the similar items that are kept for each item."""
    similar_users: Positive = 300
    """The most similar users whose items count (as in session-based kNN)."""
    compared_users: Positive = 10_000
    """Users among whom they are looked for at most, drawn at random. A saved recommender holds what they had, as
    numbers of items without names; `users: false` leaves them out."""
    whitening: Fraction = 0.75
    """Whitening of the texts, from not at all (0) to fully (1)."""
    exact_up_to: Positive = 50000
    """More items than this are matched by text approximately."""


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

    def nearest(self, histories: Sequences) -> Tensor:
        """Say how much each item is like the one of a history that it is most like: (B, V + 1)."""
        return self._pool(histories, self.values[histories.items], "amax")

    def recent(self, histories: Sequences) -> Tensor:
        """Say how much each item is like those of a history, the later the more: (B, V + 1)."""
        return self._pool(histories, self.values[histories.items] * recency(histories)[:, None], "sum")

    def _pool(self, histories: Sequences, values: Tensor, how: str) -> Tensor:
        """Pool values (N, K) of the similar items of each history's items."""
        width = len(self.items)
        place = histories.row[:, None] * width + self.items[histories.items].long()  # (N, K)
        scores = values.new_zeros(len(histories) * width)
        scores.scatter_reduce_(0, place.flatten(), values.flatten(), how)
        return scores.view(len(histories), width)


def recency(histories: Sequences) -> Tensor:
    """Weigh the items of histories: the latest one 1, then 1/2, 1/3 …: (N,)."""
    return 1 / (histories.from_end + 1)


class SimilarUsers(nn.Module):
    """What users have whose histories are similar: session-based kNN (Ludewig and Jannach, 2018).

    Similarity is the cosine of two vectors over items, in which an item counts 1/√popularity, and in a history its
    recency besides. Users all of whose items the history has do not count. One of them is the user whose history it is,
    who would only say again what was had before.
    """

    def __init__(self, n_items: int, similar: int) -> None:
        super().__init__()
        self.similar = similar
        self.register_buffer("items", torch.zeros(1, 1, dtype=torch.int32))  # (U', W) distinct items, filled up by 0
        self.register_buffer("rarity", torch.zeros(n_items + 1))  # 1/√popularity

    def fill(self, sequences: Sequences, most: int, seed: int) -> None:
        """Take over training items of all users, or of `most` drawn at random."""
        width = len(self.rarity)
        users = torch.randperm(len(sequences), generator=torch.Generator().manual_seed(seed))[:most].sort().values
        counts = torch.bincount(sequences.items, minlength=width)
        self.rarity.copy_(counts.clamp(min=1).rsqrt()).mul_(counts > 0)
        some = sequences.take(users.to(sequences.items.device), READ)
        pairs = (some.row * width + some.items).unique()  # ascending
        had = Sequences(pairs % width, torch.bincount(pairs // width, minlength=len(some)))
        self.items = had.items.new_zeros(len(had), int(had.lengths.max()), dtype=torch.int32)
        self.items[had.row, had.column] = had.items.int()

    def match(self, histories: Sequences) -> Tensor:
        """Sum the similarities of those similar users who have an item: (B, V + 1)."""
        width, rows = len(self.rarity), histories.row
        wanted = self.rarity.new_zeros(len(histories) * width)
        wanted.index_add_(0, rows * width + histories.items, recency(histories) * self.rarity[histories.items])
        wanted = F.normalize(wanted.view(len(histories), width), dim=1)  # (B, V + 1)
        items = self.items.long()
        length = self.rarity[items].norm(dim=1).clamp(min=1e-12)  # (U',)
        shared = F.embedding_bag(items, (wanted * self.rarity).T.contiguous(), mode="sum", padding_idx=0)  # (U', B)
        best = (shared / length[:, None]).topk(min(self.similar, len(items)), dim=0)  # (S, B)
        place = torch.arange(len(histories), device=rows.device)[:, None] * width + items[best.indices]  # (S, B, W)
        known = torch.zeros_like(wanted, dtype=torch.bool)
        known[rows, histories.items] = True
        known[:, 0] = True
        values = best.values.masked_fill(known.flatten()[place].all(2), 0)  # (S, B)
        scores = wanted.new_zeros(len(histories) * width)
        scores.scatter_reduce_(0, place.flatten(), values[:, :, None].expand(place.shape).flatten(), "sum")
        scores = scores.view(len(histories), width)
        scores[:, 0] = 0
        return scores

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *rest: object) -> None:
        """Take as many users as were saved."""
        if f"{prefix}items" in state:
            self.items = self.items.new_zeros(state[f"{prefix}items"].shape)
        super()._load_from_state_dict(state, prefix, *rest)


class Matcher(nn.Module):
    """All matches and their weights.

    Attributes:
        popularity: (V + 1,) log(1 + training count), standardised over items.
        weights: (11,) of the model's own score, the four matches, popularity and its square (for items that are rare
            in training because they are new), and of each match times popularity. Until they are fitted only the
            model's own score counts.
        halves: (2, 11) the same, fitted to validation users with an odd number, and to those with an even one: what
            judges the even ones, and the odd ones, where validation reports.
    """

    def __init__(self, n_items: int, settings: MatchSettings) -> None:
        super().__init__()
        self.settings = settings
        self.text, self.transitions = (SimilarItems(n_items, settings.neighbours) for _ in range(2))
        self.users = SimilarUsers(n_items, settings.similar_users)
        self.register_buffer("popularity", torch.zeros(n_items + 1))
        self.register_buffer("weights", F.one_hot(torch.tensor(0), 3 + 2 * len(MATCHES)).float())
        self.register_buffer("halves", self.weights.repeat(2, 1))

    def learn(self, texts: np.ndarray, score: Callable[[Tensor], Tensor], context: TrainContext) -> None:
        """List what is similar in training, and fit the weights to the validation items.

        Args:
            texts: (V, L) LLM embeddings.
            score: rows of the validation users (b,) → the model's own scores (b, V + 1).
            context: of the end of training.
        """
        settings, sequences = self.settings, context.sequences
        if settings.text:
            self.fill_texts(texts, texts)
        if settings.transitions:
            self.transitions.fill(transitions(sequences, len(texts), settings.neighbours))
        if settings.users:
            self.users.fill(sequences, settings.compared_users, context.seed)
        if settings.popularity:
            logs = torch.bincount(sequences.items, minlength=len(self.popularity)).float().log1p()
            spread = logs[1:].std(correction=min(1, len(logs) - 2)).clamp(min=1e-6)
            self.popularity.copy_((logs - logs[1:].mean()) / spread)
        histories, targets = sequences.take(context.validation_users), context.validation_items
        odd = context.validation_users % 2 == 1
        fitted = self.fit(score, histories, targets, [torch.ones_like(odd), odd, ~odd], context.seed)
        self.weights.copy_(fitted[0])
        self.halves.copy_(torch.stack(fitted[1:]))

    def fill_texts(self, texts: np.ndarray, trained: np.ndarray) -> None:
        """List items that are alike by text (V, L), whitened by the statistics of those that were trained."""
        vectors = whiten(texts, power=self.settings.whitening, of=trained)
        self.text.fill(text_similarity(vectors, self.settings.neighbours, self.settings.exact_up_to))

    def matches(self, histories: Sequences) -> list[Tensor]:
        """List the matches, as `MATCHES`: (B, V + 1) each."""
        by_text = [self.text.nearest(histories), self.text.recent(histories)]
        return [*by_text, self.transitions.recent(histories), self.users.match(histories)]

    def forward(self, scores: Tensor, histories: Sequences) -> Tensor:
        """Return the weighted sum of a model's own scores (B, V + 1), the matches and popularity."""
        if not self.weights[1:].any():
            return scores * self.weights[0]
        return weighted(self.weights, scores, self.matches(histories), self.popularity.expand_as(scores))

    def contributions(self, history: Sequences) -> dict[str, Tensor]:
        """Name what of one history's scores is not the model's own: (V + 1,) each."""
        matches, popularity = [match[0] for match in self.matches(history)], self.popularity
        nothing = [torch.zeros_like(popularity) for _ in matches]
        parts = {"popularity": weighted(self.weights, popularity * 0, nothing, popularity)}
        for number, name in enumerate(MATCHES):
            alone = [*nothing[:number], matches[number], *nothing[number + 1 :]]
            whole = weighted(self.weights, popularity * 0, alone, popularity)
            parts[f"match by {name}"] = whole - parts["popularity"]
        return parts

    def with_new_items(self, texts: np.ndarray, counts: np.ndarray, new_count: int) -> "Matcher":
        """Return a matcher that knows further items, which nobody has had.

        Args:
            texts: (V + n, L) of the items that were trained, then the new ones.
            counts: (V,) training interactions of the former.
            new_count: the training count that new ones are taken for.
        """
        known, settings = len(counts) + 1, self.settings
        grown = Matcher(len(texts), settings)
        if settings.text:
            grown.fill_texts(texts, texts[: len(counts)])
        grown.transitions.items[:known].copy_(self.transitions.items)
        grown.transitions.values[:known].copy_(self.transitions.values)
        grown.users.items = self.users.items
        grown.users.rarity[:known].copy_(self.users.rarity)
        logs = np.log1p(counts.astype(np.float64))
        spread = max(logs.std(ddof=min(1, len(logs) - 1)), 1e-6)
        taken_for = (np.log1p(new_count) - logs.mean()) / spread if settings.popularity else 0
        grown.popularity.fill_(float(taken_for))[:known].copy_(self.popularity)
        grown.weights.copy_(self.weights)
        grown.halves.copy_(self.halves)
        return grown

    def fit(
        self, score: Callable[[Tensor], Tensor], histories: Sequences, targets: Tensor, groups: list[Tensor], seed: int
    ) -> list[Tensor]:
        """Fit weights by maximum likelihood of held-out items, among items that their users have not had.

        Of many items and users a random part is looked at, a block of users at a time.

        Args:
            score: rows of the histories (b,) → the model's own scores (b, V + 1).
            histories: n.
            targets: (n,) the held-out items.
            groups: (n,) each, true for the users whom weights are fitted to.
            seed: of the random part.

        Returns:
            (11,) weights a group; the first group's also for a group without users.
        """
        width = len(self.popularity)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.stack(groups).any(0).nonzero().squeeze(1)
        chosen = torch.randperm(len(rows), generator=generator)[: max(1, MOST_SCORES // min(width, MOST_COLUMNS))]
        rows = rows[chosen.sort().values.to(targets.device)]
        blocks = [
            self._target_first(score(some), histories.take(some), targets[some, None], generator)
            for some in rows.split(max(1, MOST_SCORES // width))
        ]
        parts, excluded = (torch.cat(block, -2) for block in zip(*blocks, strict=True))
        found = list[Tensor]()
        for group in groups:
            own = group[rows]
            there = own.any() or not found
            found.append(_maximum_likelihood(parts[:, own], excluded[own], self.weights) if there else found[0])
        return found

    def _target_first(
        self, scores: Tensor, histories: Sequences, targets: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Put the targets (b, 1) before the items that they are compared with.

        Returns:
            scores, matches and popularity (6, b, 1 + m), and which are left out (b, 1 + m).
        """
        n_items = scores.shape[1] - 1
        columns = torch.arange(1, n_items + 1).expand(len(scores), -1)
        if n_items > MOST_COLUMNS:
            columns = torch.randint(1, n_items + 1, (len(scores), MOST_COLUMNS), generator=generator)
        columns = columns.to(scores.device)  # (b, m)
        parts = torch.stack([scores, *self.matches(histories), self.popularity.expand_as(scores)])
        excluded = torch.zeros_like(scores, dtype=torch.bool)
        excluded[histories.row, histories.items] = True
        excluded.scatter_(1, targets, value=True)  # which stands in front instead
        compared = torch.cat([targets, columns], 1)  # (b, 1 + m)
        return parts.gather(2, compared.expand(len(parts), -1, -1)), F.pad(excluded.gather(1, columns), (1, 0))


def weighted(weights: Tensor, scores: Tensor, matches: list[Tensor], popularity: Tensor) -> Tensor:
    """Sum the parts of a score by their weights (11,): (B, V + 1), as all parts are."""
    alone, with_popularity = weights[1 : 1 + len(matches)], weights[-len(matches) :]
    of_popularity, of_square = weights[1 + len(matches)], weights[2 + len(matches)]
    total = weights[0] * scores + popularity * (of_popularity + of_square * popularity)
    for match, weight, more in zip(matches, alone, with_popularity, strict=True):
        total = total + match * (weight + more * popularity)
    return total


def _maximum_likelihood(parts: Tensor, excluded: Tensor, start: Tensor) -> Tensor:
    """Maximise the softmax likelihood of column 0 over the weights (11,), slightly regularised: a convex problem.

    Args:
        parts: (6, n, 1 + m) scores, matches, popularity.
        excluded: (n, 1 + m) what is left out.
        start: (11,).
    """
    spread = parts[:-1].flatten(1).std(1).clamp(min=1e-6)  # parts of one spread are easier to descend on
    parts = torch.cat([parts[:-1] / spread[:, None, None], parts[-1:]])
    unit = torch.cat([spread, spread.new_ones(2), spread[1:]])  # popularity has its spread already
    weights = (start * unit).requires_grad_()
    targets = torch.zeros(parts.shape[1], dtype=torch.int64, device=parts.device)
    optimizer = torch.optim.LBFGS([weights], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = weighted(weights, parts[0], list(parts[1:-1]), parts[-1])
        likelihood = F.cross_entropy(total.masked_fill(excluded, float("-inf")), targets)
        value = likelihood + RIDGE * weights.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    return weights.detach() / unit


def by_halves(method: Method, users: Tensor) -> list[tuple[Tensor, Method]]:
    """Give even users a copy of a method with the weights that were fitted to odd ones, and the other way round."""
    versions = []
    for half in (0, 1):
        rows = (users % 2 == half).nonzero().squeeze(1)
        version = copy.copy(method)  # shares all but the matcher
        version._modules = {**method._modules, "matcher": copy.copy(method.matcher)}
        version.matcher._buffers = {**method.matcher._buffers, "weights": method.matcher.halves[half]}
        versions.append((rows, version))
    return versions
