"""A set of views instead of two: text, ID, and whatever else is known of an item, fused into one vector.

Frozen vectors of each modality go through a linear map; an ID embedding starts at zero; the loss is the full-softmax
cross-entropy. A modality that does not know an item is left out, or a learned token stands for it; modality dropout in
training leaves out others at random.

Each fusion takes the views as tokens (…, M + 1, D), the last of which is the ID, and which of them are there
(…, M + 1), and gives (…, D). What is not there has no influence, whatever stands in its place.
"""

from collections.abc import Collection
from itertools import combinations
from math import factorial
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor, nn

from llmesr.errors import InputError
from llmesr.models.attention import check_heads
from llmesr.models.backbones.base import Backbone
from llmesr.models.base import Method
from llmesr.models.inputs import ItemView, ModelInputs, item_table
from llmesr.models.whitening import location
from llmesr.section import Dropout, Positive, Section, Several

TEXT = "text"
"""What the LLM embedding of an item's prompt is called among the views."""


class Sum(nn.Module):
    """Concatenation and a linear map, which is a sum of linear maps, one a view; those are in the tokens already."""

    def __init__(self, views: int, hidden: int, heads: int, rank: int) -> None:
        super().__init__()

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
        """Fuse tokens (…, M + 1, D): (…, D)."""
        return (tokens * there[..., None]).sum(-2)


class Gated(nn.Module):
    """Views are weighted by what all of them say; the weights of those that are there sum to their number."""

    def __init__(self, views: int, hidden: int, heads: int, rank: int) -> None:
        super().__init__()
        self.gate = nn.Linear((views + 1) * hidden, views + 1)

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
        """Fuse tokens (…, M + 1, D): (…, D)."""
        heard = (tokens * there[..., None]).flatten(-2)
        weights = self.gate(heard).masked_fill(~there, float("-inf")).softmax(-1) * there.sum(-1, keepdim=True)
        return (weights[..., None] * tokens.masked_fill(~there[..., None], 0.0)).sum(-2)


class Attention(nn.Module):
    """Cross-modal attention: each view asks all that are there; what they are afterwards is summed."""

    def __init__(self, views: int, hidden: int, heads: int, rank: int) -> None:
        super().__init__()
        self.heads, self.mix, self.out = heads, nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
        """Fuse tokens (…, M + 1, D): (…, D)."""
        parts = self.mix(tokens).unflatten(-1, (3, self.heads, -1)).movedim(-3, 0)  # (3, …, M + 1, H, D/H)
        query, key, value = (part.transpose(-2, -3) for part in parts)  # (…, H, M + 1, D/H)
        mask = there[..., None, None, :]  # the ID is always there, so no row is empty
        told = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        told = self.out(told.transpose(-2, -3).flatten(-2))
        return ((tokens + told) * there[..., None]).sum(-2)


class Bilinear(nn.Module):
    """Low-rank tensor fusion (Liu et al., ACL 2018): the mean over ranks of the product over views of 1 + U z.

    Multiplied out it holds each view alone, every pair, and so on; what is not there is a factor of one.
    """

    def __init__(self, views: int, hidden: int, heads: int, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.factors = nn.ModuleList(nn.Linear(hidden, rank * hidden, bias=False) for _ in range(views + 1))

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
        """Fuse tokens (…, M + 1, D): (…, D)."""
        product = tokens.new_ones(())
        for place, factor in enumerate(self.factors):
            said = factor(tokens[..., place, :]) * there[..., place, None]
            product = product * (1 + said.unflatten(-1, (self.rank, -1)))  # (…, R, D)
        return product.mean(-2) - 1  # what an item of no view would be, the same for all


FUSIONS = {"concat": Sum, "gated": Gated, "attention": Attention, "bilinear": Bilinear}


class Views(nn.Module):
    """Item ids → what each modality says of them, and an ID embedding that starts at zero → one vector.

    Attributes:
        names: of the modalities; the ID comes after them.
        present: (V + 2, M) which items each of them knows.
    """

    def __init__(self, views: dict[str, tuple[Tensor, Tensor]], hidden: int, settings: "MultiView.Settings") -> None:
        super().__init__()
        self.names, self.missing, self.dropout = list(views), settings.missing, settings.modality_dropout
        for name, (vectors, _) in views.items():
            self.register_buffer(f"of_{name}", vectors, persistent=False)  # (V + 2, L), frozen
        present = torch.stack([there for _, there in views.values()], 1)
        self.register_buffer("present", present, persistent=False)
        widths = [vectors.shape[1] for vectors, _ in views.values()]
        self.project = nn.ModuleList(nn.Linear(width, hidden, bias=False) for width in widths)
        if self.missing == "token":
            self.tokens = nn.Embedding(len(views), hidden)  # a table, so that it keeps its first value
            nn.init.zeros_(self.tokens.weight)
        self.ids = nn.Embedding(len(present), hidden, padding_idx=0)
        nn.init.zeros_(self.ids.weight)
        self.fuse = FUSIONS[settings.fusion](len(views), hidden, settings.heads, settings.rank)

    def of(self, name: str) -> Tensor:
        """Give the frozen vectors (V + 2, L) of a modality."""
        return getattr(self, f"of_{name}")

    def known(self, items: Tensor, without: Collection[str] = ()) -> Tensor:
        """Say which modalities know items (…) and may speak: (…, M)."""
        heard = torch.tensor([name not in without for name in self.names], device=items.device)
        there = self.present[items] & heard
        if self.training and self.dropout:
            there = there & (torch.rand(there.shape, device=there.device) >= self.dropout)
        return there

    def forward(self, items: Tensor, without: Collection[str] = ()) -> Tensor:
        """Return the vectors (…, D) of items (…), or what they are without some of the modalities."""
        there = self.known(items, without)
        frozen = (nn.functional.embedding(items, self.of(name)) for name in self.names)
        said = [turn(vectors) for turn, vectors in zip(self.project, frozen, strict=True)]
        tokens = torch.stack([*said, self.ids(items)], -2)  # (…, M + 1, D)
        there = nn.functional.pad(there, (0, 1), value=True)
        if self.missing == "token":
            instead = nn.functional.pad(self.tokens.weight, (0, 0, 0, 1))
            tokens = torch.where(there[..., None], tokens, instead)
            there = torch.ones_like(there)
        return self.fuse(tokens, there)


class MultiView(Method):
    """The backbone on the views that the settings name."""

    name = "multiview"
    title = "Multi-view"
    loss = "cross_entropy"

    class Settings(Section):
        """Own settings of a set of views."""

        views: Annotated[tuple[str, ...], *Several] = (TEXT,)
        """`text`, and names of views that the stage `modalities` made."""
        fusion: Literal["concat", "gated", "attention", "bilinear"] = "concat"
        """How views become one vector; `attention` is cross-modal, `bilinear` a low-rank tensor."""
        heads: Positive = 2
        """Heads of `attention`; must divide `model.hidden`."""
        rank: Positive = 4
        """Rank of `bilinear`."""
        missing: Literal["mask", "token"] = "mask"
        """An unknown view is left out (`mask`), or a learned vector stands for it (`token`)."""
        modality_dropout: Dropout = 0.0
        """Share of the views that an item has which are left out in training."""

    def __init__(self, settings: "MultiView.Settings", inputs: ModelInputs, backbone: Backbone) -> None:
        super().__init__(settings, inputs, backbone)
        check_heads("methods.multiview.heads", settings.heads, inputs.hidden)
        views = {name: standardised(view_of(inputs, name)) for name in settings.views}
        self.table = Views(views, inputs.hidden, settings)


def view_of(inputs: ModelInputs, name: str) -> ItemView:
    """Find a view by its name.

    Raises:
        InputError: there is none.
    """
    if name == TEXT:
        return ItemView(inputs.item_embeddings, np.arange(len(inputs.item_embeddings)) > 0)
    if name not in inputs.views:
        raise InputError(
            f"key 'methods.multiview.views' names '{name}', and there are {', '.join([TEXT, *inputs.views])}: put it "
            "into 'datasets.<name>.modalities' and run `dvc repro modalities`"
        )
    return inputs.views[name]


def standardised(view: ItemView) -> tuple[Tensor, Tensor]:
    """Centre the vectors of the items that a view knows, to a length of about one: (V + 2, L), and which (V + 2,)."""
    known, rows = view.present[1:], view.vectors[1:]
    mean, spread = location(rows[known])
    vectors = np.where(known[:, None], (rows - mean) / spread, 0.0)
    return item_table(vectors), item_table(known[:, None])[:, 0].bool()


@torch.no_grad()
def shares(model: MultiView, state: Tensor, items: Tensor) -> dict[str, Tensor]:
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
