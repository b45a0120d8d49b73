"""CITIES (Jang et al., 2020): tail items' embeddings are inferred from the contexts they occur in.

1. The backbone is trained as usual. 2. Over the frozen item table an inferrer learns to predict the embedding of *head*
items from their contexts. 3. It infers the embeddings of *tail* items, which replace theirs. The backbone is not
trained again.
"""

import copy
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmesr.models.attention import SelfAttention, check_heads
from llmesr.models.backbones.base import Backbone
from llmesr.models.base import Method, TrainContext
from llmesr.models.contexts import occurrences
from llmesr.models.dropout import Dropout
from llmesr.models.inputs import ModelInputs, random_table
from llmesr.section import Dropout as DropoutShare
from llmesr.section import Positive, Rate, Section, Share
from llmesr.sequences import Sequences

NEIGHBOURS = 2
"""Items that a context has at least, beside the hidden one."""
CONTEXTS_AT_ONCE = 128
"""Contexts whose items are encoded together."""


class CITIES(Method):
    """The backbone alone, whose tail items' vectors are inferred when it is trained."""

    name = "cities"
    title = "CITIES"
    starts_from = "base"
    trains = False

    class Settings(Section):
        """CITIES' own settings."""

        head_above: Positive = 5
        """A head item has more training interactions than this (CITIES' code: 5)."""
        window: Positive = 24
        """Items of context on each side (CITIES' code: 24)."""
        contexts: Positive = 10
        """Contexts that a head item is inferred from in training, at most (CITIES' code: 10)."""
        layers: Positive = 2
        """Layers of each of the two encoders (CITIES' code: 2)."""
        heads: Positive = 4
        """Heads of each of the two encoders; must divide `model.hidden` (CITIES' code: 4)."""
        dropout: DropoutShare = 0.2
        """Dropout of what the layers of both encoders add (CITIES' code: 0.2)."""
        attention_dropout: DropoutShare = 0.5
        """Dropout of attention weights in both encoders (CITIES' code: 0.5)."""
        batch_size: Positive = 128
        """Items a step (CITIES' code: 128)."""
        learning_rate: Rate = 0.001
        """Adam's (CITIES' code: 0.0001, for datasets with ten times the steps an epoch)."""
        warm_up: Positive = 100
        """Steps until the full learning rate (CITIES' code: 100)."""
        validation_share: Share = 0.05
        """Share of the head items that are set aside for early stopping (CITIES' code: 0.05)."""
        epochs: Positive = 200
        """Epochs at most (CITIES' code: no limit)."""
        patience: Positive = 5
        """Epochs without a lower error before stopping (CITIES' code: 10)."""
        tolerance: Share = 0.01
        """Share by which an error must fall to count as lower (CITIES' code: any fall counts)."""

    def __init__(self, settings: "CITIES.Settings", inputs: ModelInputs, backbone: Backbone) -> None:
        super().__init__(settings, inputs, backbone)
        check_heads("methods.cities.heads", settings.heads, inputs.hidden)
        self.table = random_table(inputs.n_items, inputs.hidden)

    def on_fit_end(self, context: TrainContext) -> None:
        """Learn to infer head items, and replace the rows of tail items."""
        infer_tail(self.settings, self.table.weight, context)


class Layer(nn.Module):
    """A layer of a Transformer encoder: attention and a feed-forward of width 2D, each added, then normed."""

    def __init__(self, hidden: int, settings: "CITIES.Settings") -> None:
        super().__init__()
        self.attention = SelfAttention(hidden, settings.heads, settings.attention_dropout)
        self.feed_forward = nn.Sequential(
            nn.Linear(hidden, 2 * hidden), nn.ReLU(), Dropout(settings.dropout), nn.Linear(2 * hidden, hidden)
        )
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.dropout = Dropout(settings.dropout)

    def forward(self, x: Tensor, sequences: Sequences) -> Tensor:
        """Transform (N, D)."""
        x = self.norm_attention(x + self.dropout(self.attention(x, x, sequences, causal=False)))
        return self.norm_feed_forward(x + self.dropout(self.feed_forward(x)))


class Inferrer(nn.Module):
    """Contexts of an item → its embedding."""

    def __init__(self, table: Tensor, settings: "CITIES.Settings") -> None:
        super().__init__()
        hidden = table.shape[1]
        self.register_buffer("table", table)  # (V + 2, D), frozen
        places = 2 * settings.window + 1
        self.position = nn.Parameter(torch.ones(places))  # a weight for each place in the window
        self.register_buffer("waves", waves(places, hidden), persistent=False)  # (2 · window + 1, D)
        self.of_items, self.of_contexts = (
            nn.ModuleList(Layer(hidden, settings) for _ in range(settings.layers)) for _ in range(2)
        )
        self.out = nn.Linear(hidden, hidden)

    def forward(self, contexts: Tensor) -> Tensor:
        """Infer (b, D) from contexts (b, K, 2 · window + 1) of item ids, 0 where there is no item."""
        b, K, _ = contexts.shape
        flat = contexts.flatten(0, 1)  # (b · K, 2 · window + 1)
        # contexts of similar length are read together, some at a time: they stay in the processor's cache
        shortest_first = (flat > 0).sum(1).argsort()  # (b · K,)
        vectors = torch.cat([self._read(flat[rows]) for rows in shortest_first.split(CONTEXTS_AT_ONCE)])
        x = F.embedding(shortest_first.argsort(), vectors)  # (b · K, D), back in the order of the contexts
        same = Sequences(torch.arange(b * K, device=x.device), torch.full((b,), K, device=x.device))
        for layer in self.of_contexts:
            x = layer(x, same)
        return self.out(same.mean(x))

    def _read(self, contexts: Tensor) -> Tensor:
        """Turn contexts (n, 2 · window + 1) of item ids into a vector each: (n, D)."""
        row, column = contexts.nonzero(as_tuple=True)  # (N,) each
        items = Sequences(contexts[row, column], torch.bincount(row, minlength=len(contexts)))
        x = F.embedding(items.items, self.table) * self.position.index_select(0, column)[:, None]  # (N, D)
        x = x * x.shape[-1] ** 0.5 + self.waves[column]  # √D as in Vaswani et al.: trained rows are short
        for layer in self.of_items:
            x = layer(x, items)
        return items.mean(x)


def waves(places: int, hidden: int) -> Tensor:
    """Tell places apart by sines and cosines (Vaswani et al., 2017): (places, D)."""
    rates = 10_000 ** (-torch.arange(0, hidden, 2) / hidden)  # (⌈D/2⌉,)
    angles = torch.arange(places)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :hidden]


def windows(sequences: Sequences, centres: Tensor, window: int, mask_id: int) -> Tensor:
    """Cut out what surrounds positions (…,), the item itself hidden: (…, 2 · window + 1) ids, 0 outside."""
    steps = torch.arange(-window, window + 1, device=centres.device)
    place = centres[..., None] + steps
    row = sequences.row[centres][..., None]
    inside = (place >= sequences.offsets[row]) & (place < sequences.offsets[row + 1])
    items = torch.where(inside, sequences.items[place.clamp(0, len(sequences.items) - 1)], 0)
    return torch.where(steps == 0, mask_id, items)


def infer_tail(settings: "CITIES.Settings", table: nn.Parameter, context: TrainContext) -> None:
    """Learn the inferrer on head items and replace the rows of tail items in the table (V + 2, D)."""
    torch.manual_seed(context.seed)
    sequences, mask_id = context.sequences, len(table) - 1
    useful = sequences.lengths[sequences.row] > NEIGHBOURS  # shorter contexts are left out, as in CITIES' code
    positions = torch.arange(len(sequences.items), device=table.device)[useful]
    places = occurrences(Sequences(sequences.items[useful], useful.sum()[None]), mask_id - 1)
    places = Sequences(positions[places.items], places.lengths)  # of each item 0 … V, its positions
    counts = torch.bincount(sequences.items, minlength=mask_id)
    head = (counts > settings.head_above) & (places.lengths > 0)
    tail = ~head & (places.lengths > 0)
    if not head.any() or not tail.any():
        return
    contexts = partial(windows, sequences, window=settings.window, mask_id=mask_id)
    inferrer = _learn(settings, table.detach().clone(), places, head.nonzero().squeeze(1), contexts)
    with torch.no_grad():
        for count in places.lengths[tail].unique():  # items with equally many contexts make a rectangle
            items = (tail & (places.lengths == count)).nonzero().squeeze(1)
            for block in items.split(settings.batch_size):
                centres = places.take(block, int(count)).items.view(len(block), -1)
                table[block] = inferrer(contexts(centres))


def _learn(settings: "CITIES.Settings", table: Tensor, places: Sequences, head: Tensor, contexts: partial) -> Inferrer:
    """Fit the inferrer to the embeddings of head items; keep what is best on those set aside."""
    inferrer = Inferrer(table, settings).to(table.device)
    # The rows of a trained table are short. An output layer that starts as usual answers with vectors some ten times as
    # long, and the first ten epochs go into shrinking them. One that starts at zero learns what matters at once.
    nn.init.zeros_(inferrer.out.weight)
    nn.init.zeros_(inferrer.out.bias)
    optimizer = torch.optim.Adam(inferrer.parameters(), lr=settings.learning_rate)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / settings.warm_up, total_iters=settings.warm_up)
    head = head[torch.randperm(len(head)).to(head.device)]
    aside = max(1, round(len(head) * settings.validation_share))
    validation, training = head[:aside], head[aside:] if len(head) > aside else head

    def some(items: Tensor, K: int) -> Tensor:
        chance = torch.rand(len(items), K, device=items.device)
        drawn = (chance * places.lengths[items, None]).long()
        return contexts(places.items[places.offsets[items, None] + drawn])

    judged = some(validation, settings.contexts)
    best, best_loss, waited = copy.deepcopy(inferrer.state_dict()), float("inf"), 0
    for _ in range(settings.epochs):
        inferrer.train()
        for batch in training[torch.randperm(len(training)).to(head.device)].split(settings.batch_size):
            K = int(torch.randint(1, settings.contexts + 1, ()))
            loss = F.mse_loss(inferrer(some(batch, K)), table[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            warm_up.step()
        inferrer.eval()
        with torch.no_grad():
            loss = F.mse_loss(inferrer(judged), table[validation]).item()
        waited = 0 if loss < best_loss * (1 - settings.tolerance) else waited + 1
        if waited == 0:
            best, best_loss = copy.deepcopy(inferrer.state_dict()), loss
        if waited >= settings.patience:
            break
    inferrer.load_state_dict(best)
    return inferrer.eval()
