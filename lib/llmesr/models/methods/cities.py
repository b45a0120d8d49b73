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

from llmesr.models.attention import SelfAttention
from llmesr.models.contract import Overview
from llmesr.models.dropout import Dropout
from llmesr.models.ingredients import Ingredients
from llmesr.models.methods import none
from llmesr.models.methods.single_view import SingleView
from llmesr.models.ragged import Ragged
from llmesr.settings import Cities


class Layer(nn.Module):
    """A layer of a Transformer encoder: attention and a feed-forward of width 2D, each added, then normed."""

    def __init__(self, hidden: int, settings: Cities) -> None:
        super().__init__()
        self.attention = SelfAttention(hidden, settings.heads, settings.dropout, None)
        self.feed_forward = nn.Sequential(
            nn.Linear(hidden, 2 * hidden), nn.ReLU(), Dropout(settings.dropout), nn.Linear(2 * hidden, hidden)
        )
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.dropout = Dropout(settings.dropout)

    def forward(self, x: Tensor, sequences: Ragged) -> Tensor:
        """Transform (N, D)."""
        x = self.norm_attention(x + self.dropout(self.attention(x, x, sequences, causal=False)))
        return self.norm_feed_forward(x + self.dropout(self.feed_forward(x)))


class Inferrer(nn.Module):
    """Contexts of an item → its embedding."""

    def __init__(self, table: Tensor, settings: Cities) -> None:
        super().__init__()
        hidden = table.shape[1]
        self.register_buffer("table", table)  # (V + 2, D), frozen
        self.position = nn.Parameter(torch.ones(2 * settings.window + 1))  # a weight for each place in the window
        self.of_items, self.of_contexts = (
            nn.ModuleList(Layer(hidden, settings) for _ in range(settings.layers)) for _ in range(2)
        )
        self.out = nn.Linear(hidden, hidden)

    def forward(self, contexts: Tensor) -> Tensor:
        """Infer (b, D) from contexts (b, K, 2 · window + 1) of item ids, 0 where there is no item."""
        b, K, _ = contexts.shape
        flat = contexts.flatten(0, 1)
        row, column = flat.nonzero(as_tuple=True)
        items = Ragged(flat[row, column], torch.bincount(row, minlength=b * K))
        x = F.embedding(items.items, self.table) * self.position.index_select(0, column)[:, None]  # (N, D)
        for layer in self.of_items:
            x = layer(x, items)
        x = items.mean(x)  # (b · K, D)
        same = Ragged(torch.arange(b * K, device=x.device), torch.full((b,), K, device=x.device))
        for layer in self.of_contexts:
            x = layer(x, same)
        return self.out(same.mean(x))


def windows(sequences: Ragged, centres: Tensor, window: int, mask_id: int) -> Tensor:
    """Cut out what surrounds positions (…,), the item itself hidden: (…, 2 · window + 1) ids, 0 outside."""
    steps = torch.arange(-window, window + 1, device=centres.device)
    place = centres[..., None] + steps
    row = sequences.row[centres][..., None]
    inside = (place >= sequences.offsets[row]) & (place < sequences.offsets[row + 1])
    found = torch.where(inside, sequences.items[place.clamp(0, len(sequences.items) - 1)], 0)
    return torch.where(steps == 0, mask_id, found)


def infer_tail(settings: Cities, model: SingleView, overview: Overview) -> None:
    """Learn the inferrer on head items and replace the rows of tail items."""
    torch.manual_seed(overview.seed)
    table, sequences = model.table.weight, overview.sequences
    mask_id = len(table) - 1
    useful = sequences.lengths[sequences.row] > 1  # a context of nothing but the hidden item says nothing
    where = torch.arange(len(sequences.items), device=table.device)[useful]
    found = Ragged(sequences.items[useful], useful.new_ones(1, dtype=torch.int64)).occurrences(mask_id - 1)
    found = Ragged(where[found.items], found.lengths)
    head = (torch.bincount(sequences.items, minlength=mask_id) > settings.head_above) & (found.lengths > 0)
    tail = ~head & (found.lengths > 0)
    if not head.any() or not tail.any():
        return
    contexts = partial(windows, sequences, window=settings.window, mask_id=mask_id)
    inferrer = _learn(settings, table.detach().clone(), found, head.nonzero().squeeze(1), contexts)
    with torch.no_grad():
        for count in found.lengths[tail].unique():  # items with equally many contexts make a rectangle
            items = (tail & (found.lengths == count)).nonzero().squeeze(1)
            for block in items.split(settings.batch_size):
                centres = found.take(block, int(count)).items.view(len(block), -1)
                table[block] = inferrer(contexts(centres))


def _learn(settings: Cities, table: Tensor, found: Ragged, head: Tensor, contexts: partial) -> Inferrer:
    """Fit the inferrer to the embeddings of head items; keep what is best on those set aside."""
    inferrer = Inferrer(table, settings).to(table.device)
    optimizer = torch.optim.Adam(inferrer.parameters(), lr=settings.learning_rate)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / settings.warm_up, total_iters=settings.warm_up)
    head = head[torch.randperm(len(head)).to(head.device)]
    aside = max(1, round(len(head) * settings.validation_share))
    validation, training = head[:aside], head[aside:] if len(head) > aside else head

    def some(items: Tensor, K: int) -> Tensor:
        chance = torch.rand(len(items), K, device=items.device)
        drawn = (chance * found.lengths[items, None]).long()
        return contexts(found.items[found.offsets[items, None] + drawn])

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
        waited = 0 if loss < best_loss else waited + 1
        if loss < best_loss:
            best, best_loss = copy.deepcopy(inferrer.state_dict()), loss
        if waited >= settings.patience:
            break
    inferrer.load_state_dict(best)
    return inferrer.eval()


def build(settings: Cities, given: Ingredients) -> SingleView:
    """Build the plain backbone; its tail items are inferred when it is trained."""
    model = none.build(settings, given)
    model.finish = partial(infer_tail, settings, model)
    return model
