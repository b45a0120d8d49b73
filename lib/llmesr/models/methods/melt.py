"""MELT (Kim et al., SIGIR 2023): head users teach a map for tail users, head items one for tail items.

Starts from a trained backbone f. User branch: W_U turns a head user's few latest items into what the whole history
gives. Item branch: W_I turns the contexts of a head item (prefixes that end at it) into its embedding. What is
learned on the head is used on the tail: tail items' rows are replaced every epoch, at inference tail users get
f + W_U f.
"""

import math

import torch
from torch import Tensor, nn

from llmesr.models.contract import Batch, Overview
from llmesr.models.ingredients import Ingredients
from llmesr.models.methods import none
from llmesr.models.methods.single_view import SingleView
from llmesr.models.ragged import Ragged
from llmesr.settings import Melt


class MELT(nn.Module):
    """A plain backbone and two maps."""

    def __init__(self, plain: SingleView, settings: Melt, max_length: int) -> None:
        super().__init__()
        self.backbone, self.table, self.settings, self.max_length = plain.backbone, plain.table, settings, max_length
        hidden = plain.table.weight.shape[1]
        self.user_map, self.item_map = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)  # W_U, W_I
        self.register_buffer("user_threshold", torch.zeros((), dtype=torch.int64))  # a tail user has at most so many
        self.item_threshold = 0
        self._sequences: Ragged | None = None
        self._contexts: Ragged | None = None  # sequence v: the positions of item v
        self._epoch = 0

    @property
    def mask_id(self) -> int:
        """The id of [MASK], V + 1."""
        return len(self.table.weight) - 1

    @property
    def _appended(self) -> int:
        """How many [MASK] end a sequence: 1 for the cloze task."""
        return int(self.backbone.objective == "cloze")

    def item_vectors(self, items: Tensor) -> Tensor:
        """Return the vectors (…, D) of items (…)."""
        return self.table(items)

    def states(self, sequences: Ragged, vectors: Tensor, *, last_only: bool = False) -> Tensor:
        """Encode N item vectors (N, D) to states (N, D), or the B last; at inference tail users' are enhanced."""
        f = self._plain(sequences, vectors, last_only=last_only)
        if self.training:
            return f
        items = sequences.lengths - self._appended  # [MASK] is no item of the user's
        few = (items <= self.user_threshold)[:, None]
        return torch.where(few if last_only else few[sequences.row], f + self.user_map(f), f)

    def _plain(self, sequences: Ragged, vectors: Tensor, *, last_only: bool = False) -> Tensor:
        return self.backbone.encode(self.backbone.place(vectors, sequences), sequences, last_only=last_only)

    def start_epoch(self, overview: Overview) -> None:
        """Replace the embeddings of tail items by W_I(mean f over their contexts)."""
        self._epoch = overview.epoch
        if self._contexts is None:
            self._find_thresholds(overview.sequences)
        tail = (self._contexts.lengths > 0) & (self._contexts.lengths <= self.item_threshold)
        tail = tail.nonzero().squeeze(1)
        if len(tail):
            ends, threshold = self._contexts.take(tail, self.item_threshold), int(self.user_threshold)
            self.user_threshold.zero_()  # f itself is asked for, not what a tail user is given
            f = overview.encode(overview.sequences.prefixes(ends.items, self.max_length))
            self.user_threshold.fill_(threshold)
            with torch.no_grad():
                self.table.weight[tail] = self.item_map(ends.mean(f))

    def _find_thresholds(self, sequences: Ragged) -> None:
        """Tell head and tail apart: the `quantile` of training counts of items and of what is read of users."""
        self._sequences, self._contexts = sequences, sequences.occurrences(self.mask_id - 1)
        self.item_threshold = int(self._contexts.lengths[1:].double().quantile(self.settings.quantile))
        # no more than what is read counts; without head users, or with R = 1 only, there is no map to learn
        readable = sequences.lengths.clamp(max=self.max_length)
        threshold = int(readable.double().quantile(self.settings.quantile))
        self.user_threshold.fill_(threshold if 2 <= threshold < readable.max() else 0)

    def extra_loss(self, batch: Batch, states: Tensor) -> Tensor | None:
        """λ_u L_user + λ_i L_item, from the head users of the batch and head items drawn at random."""
        of_users = self.settings.lambda_user * self._user_loss(batch, states)
        return of_users + self.settings.lambda_item * self._item_loss(len(batch.represented))

    def _user_loss(self, batch: Batch, states: Tensor) -> Tensor:
        """Learn to tell a head user's whole history from R of its latest items: w_u ‖W_U f(R latest) − f(all)‖²."""
        whole = self._sequences.lengths[batch.represented].clamp(max=self.max_length)
        head = (whole > self.user_threshold).nonzero().squeeze(1)
        if not len(head) or self.user_threshold == 0:
            return states.new_zeros(())
        rows = batch.represents.nonzero().squeeze(1)[head]
        R = torch.randint(1, int(self.user_threshold) + 1, (len(head),), device=states.device)
        few = batch.inputs.take(rows, R + self._appended)
        longest = max(self.max_length - int(self.user_threshold) - 1, 1)
        surplus = whole[head] - self.user_threshold - 1
        weight = self._curriculum(math.pi / (2 * longest) * surplus)
        guess = self.user_map(self._last(few))
        return (weight * (guess - states[batch.last[head]]).square()).mean()

    def _item_loss(self, users: int) -> Tensor:
        """Learn from head items to tell the embedding from some contexts: w_i ‖W_I mean(f + W_U f) − e_i‖²."""
        counts = self._contexts.lengths
        head = (counts > self.item_threshold).nonzero().squeeze(1)
        if not len(head):
            return self.table.weight.new_zeros(())
        # so many that every head item has its turn once an epoch, on average
        draws = math.ceil(len(head) * users / len(self._sequences.lengths))
        items = head[torch.randint(len(head), (draws,), device=head.device)]
        most = counts[items].clamp(max=max(self.item_threshold, 1))
        K = (torch.rand(len(items), device=items.device) * most).long() + 1
        ends = self._contexts.take(items, int(counts.max())).sample(K)
        contexts = self._sequences.prefixes(ends.items, self.max_length - self._appended)
        f = self._last(contexts.append(self.mask_id) if self._appended else contexts)
        guess = self.item_map(ends.mean(f + self.user_map(f)))
        surplus = counts[items].clamp(max=self.item_threshold + 50) - self.item_threshold - 1
        weight = self._curriculum(math.pi / 100 * surplus)
        return (weight * (guess - self.table(items)).square()).mean()

    def _curriculum(self, by_length: Tensor) -> Tensor:
        """Weigh by |sin(π/2 · epoch/epochs + a · (length − threshold − 1))|: first the longest, later the shorter."""
        progress = min(self._epoch / self.settings.curriculum_epochs, 1.0)
        return (math.pi / 2 * progress + by_length).sin().abs()[:, None]

    def _last(self, sequences: Ragged) -> Tensor:
        return self._plain(sequences, self.table(sequences.items), last_only=True)

    def finish(self, overview: Overview) -> None:
        """Do nothing: the best weights hold the tail's rows."""


def build(settings: Melt, given: Ingredients) -> MELT:
    """Build the plain backbone and the two maps."""
    return MELT(none.build(settings, given), settings, given.max_length)
