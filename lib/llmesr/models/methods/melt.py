"""MELT (Kim et al., SIGIR 2023): head users teach a map for tail users, head items one for tail items.

Starts from a trained backbone f. User branch: W_U turns a head user's few latest items into what the whole history
gives. Item branch: W_I turns the contexts of a head item into its embedding. Each occurrence gives two contexts, as in
the authors' code: what leads up to it, and what comes after it, read backwards; both end at the item. What is learned
on the head is used on the tail: tail items' rows are replaced from time to time, at inference tail users get f + W_U f.
"""

import math

import torch
from torch import Tensor, nn

from llmesr.models.backbones.base import Backbone
from llmesr.models.base import Batch, Method, TrainContext
from llmesr.models.contexts import occurrences, prefixes, sample
from llmesr.models.inputs import ModelInputs, random_table
from llmesr.section import Positive, Section, Share, Weight
from llmesr.sequences import Sequences


class MELT(Method):
    """The backbone and two maps."""

    name = "melt"
    title = "MELT"
    starts_from = "base"

    class Settings(Section):
        """MELT's own settings."""

        lambda_user: Weight = 0.1
        """Weight of the user branch (MELT's paper, Beauty: 0.1)."""
        lambda_item: Weight = 0.4
        """Weight of the item branch (MELT's paper, Beauty: 0.4)."""
        quantile: Share = 0.8
        """Users and items up to this quantile of training counts are the tail (MELT's paper: 0.8)."""
        replace_every: Positive = 22_363
        """Users passed over between two replacements of tail items' rows (MELT's code: an epoch; Beauty has 22,363)."""
        head_items: Positive = 16
        """Head items a step, at most (MELT's code: each has one turn an epoch, on Beauty 16 a step)."""
        curriculum_epochs: Positive = 180
        """Epochs until the curriculum has passed from the long to the short ones (MELT's code: 180 to 200)."""

    def __init__(self, settings: "MELT.Settings", inputs: ModelInputs, backbone: Backbone) -> None:
        super().__init__(settings, inputs, backbone)
        self.table = random_table(inputs.n_items, inputs.hidden)
        self.user_map, self.item_map = (nn.Linear(inputs.hidden, inputs.hidden) for _ in range(2))  # W_U, W_I
        self.register_buffer("user_threshold", torch.zeros((), dtype=torch.int64))  # a tail user has at most so many
        self.item_threshold = 0
        self.max_length = 0
        self._sequences: Sequences | None = None
        self._both_ways: Sequences | None = None  # all training sequences, then all of them backwards
        self._contexts: Sequences | None = None  # sequence v: the positions of item v in these
        self._epoch = 0

    @property
    def mask_id(self) -> int:
        """The id of [MASK], V + 1."""
        return len(self.table.weight) - 1

    @property
    def item_counts(self) -> Tensor:
        """(V + 1,) how often each item occurs in training."""
        return self._contexts.lengths // 2

    @property
    def _appended(self) -> int:
        """How many [MASK] end a sequence: 1 for the cloze task."""
        return int(self.backbone.objective == "cloze")

    def states(self, sequences: Sequences, vectors: Tensor) -> Tensor:
        """Encode N item vectors (N, D) to states (N, D); at inference tail users' are enhanced."""
        f = super().states(sequences, vectors)
        if self.training:
            return f
        items = sequences.lengths - self._appended  # [MASK] is no item of the user's
        few = (items <= self.user_threshold)[sequences.row, None]
        return torch.where(few, f + self.user_map(f), f)

    def on_epoch_start(self, context: TrainContext) -> None:
        """Tell head and tail apart before the first epoch, and replace the tail items' rows when it is time.

        Counted in users, so that few users a pass do not mean more replacements: each needs a map that had the time to
        learn, and a model that had the time to adapt to the last one. Before the first epoch W_I has learned nothing.
        """
        self._epoch, self.max_length = context.epoch, context.max_length
        if self._contexts is None:
            self._find_thresholds(context.sequences)
        epochs = math.ceil(self.settings.replace_every / int((context.sequences.lengths > 0).sum()))
        if context.epoch > 0 and context.epoch % epochs == 0:
            self._replace_tail(context)

    def _replace_tail(self, context: TrainContext) -> None:
        """Replace the embeddings of tail items by W_I(mean f over their contexts)."""
        tail = ((self.item_counts > 0) & (self.item_counts <= self.item_threshold)).nonzero().squeeze(1)
        if len(tail):
            ends, threshold = self._contexts.take(tail), int(self.user_threshold)
            self.user_threshold.zero_()  # f itself is wanted, not what a tail user gets
            f = context.encode(prefixes(self._both_ways, ends.items, self.max_length))
            self.user_threshold.fill_(threshold)
            with torch.no_grad():
                self.table.weight[tail] = self.item_map(ends.mean(f))

    def _find_thresholds(self, sequences: Sequences) -> None:
        """Tell head and tail apart: the `quantile` of training counts of items and of what is read of users."""
        self._sequences, self._both_ways = sequences, sequences.join(sequences.backwards())
        self._contexts = occurrences(self._both_ways, self.mask_id - 1)
        self.item_threshold = int(self.item_counts[1:].double().quantile(self.settings.quantile))
        # who fills all that is read is a head user, however many there are; with R = 1 only there is no map to learn
        readable = sequences.lengths.clamp(max=self.max_length - self._appended)
        threshold = min(int(readable.double().quantile(self.settings.quantile)), int(readable.max()) - 1)
        self.user_threshold.fill_(threshold if threshold >= 2 else 0)

    def extra_loss(self, batch: Batch, states: Tensor) -> Tensor | None:
        """λ_u L_user + λ_i L_item, from the head users of the batch and head items drawn at random."""
        of_users = self.settings.lambda_user * self._user_loss(batch, states)
        return of_users + self.settings.lambda_item * self._item_loss(len(batch.represented))

    def _user_loss(self, batch: Batch, states: Tensor) -> Tensor:
        """Learn to tell a head user's whole history from R of its latest items: w_u ‖W_U f(R latest) − f(all)‖²."""
        whole = self._sequences.lengths[batch.represented].clamp(max=self.max_length - self._appended)
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
        counts = self.item_counts
        head = (counts > self.item_threshold).nonzero().squeeze(1)
        if not len(head):
            return self.table.weight.new_zeros(())
        # every head item has its turn once an epoch, on average, unless these are too many for one step
        turns = math.ceil(len(head) * users / len(self._sequences.lengths))
        draws = min(turns, self.settings.head_items)
        items = head[torch.randint(len(head), (draws,), device=head.device)]
        K = torch.randint(1, max(self.item_threshold, 1) + 1, (len(items),), device=items.device)
        ends = sample(self._contexts.take(items), K)
        contexts = prefixes(self._both_ways, ends.items, self.max_length - self._appended)
        f = self._last(contexts.append(self.mask_id) if self._appended else contexts)
        guess = self.item_map(ends.mean(f + self.user_map(f)))
        surplus = counts[items].clamp(max=self.item_threshold + 50) - self.item_threshold - 1
        weight = self._curriculum(math.pi / 100 * surplus)
        return (weight * (guess - self.table(items)).square()).mean()

    def _curriculum(self, by_length: Tensor) -> Tensor:
        """Weigh by |sin(π/2 · epoch/epochs + a · (length − threshold − 1))|: first the longest, later the shorter."""
        progress = min(self._epoch / self.settings.curriculum_epochs, 1.0)
        return (math.pi / 2 * progress + by_length).sin().abs()[:, None]

    def _last(self, sequences: Sequences) -> Tensor:
        """Encode sequences to f, their last states (B, D)."""
        return super().states(sequences, self.table(sequences.items))[sequences.last]
