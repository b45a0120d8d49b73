"""A graph of users, items and, if wanted, users' words, embedded by LightGCN (He et al., SIGIR 2020).

Edges say who has an item, and which words an item or a user comes with. The embeddings are trained to tell the items
that a user has from those that they do not have (BPR); words take part because messages pass through them.
"""

from collections import Counter

import numpy as np
import polars as pl
import torch
from torch import Tensor
from tqdm import tqdm

from llmesr.errors import InputError
from llmesr.extras import ugc
from llmesr.extras.ugc.text_features import analyser
from llmesr.models.inputs import ItemView
from llmesr.optional import optional
from llmesr.prepare.dataset import Dataset
from llmesr.settings import InteractionGraphSource, Settings

with optional("modalities"):
    from torch_geometric.nn import LightGCN
    from torch_geometric.utils import to_undirected

LEAST_USES = 2
"""A word that occurs once connects nothing."""


def edges_of_words(texts: pl.DataFrame, data: Dataset) -> np.ndarray:
    """List the edges from users and from items to words: (2, n) distinct nodes; users, then items, then words.

    Args:
        texts: `user`, `item`, `text`.
        data: for the numbers of users and items.
    """
    terms, triples = analyser(), []
    for user, item, text in texts.select("user", "item", "text").iter_rows():
        triples += [(user, data.n_users + item - 1, term) for term in set(terms(text))]
    uses = Counter(term for *_, term in triples)
    kept = sorted(term for term, count in uses.items() if count >= LEAST_USES)
    node = {term: data.n_users + data.n_items + number for number, term in enumerate(kept)}
    ends = {(end, node[term]) for user, item, term in triples if term in node for end in (user, item)}
    return np.array(sorted(ends), np.int64).reshape(-1, 2).T


def make(settings: Settings, data: Dataset, source: InteractionGraphSource) -> ItemView:
    """Train the graph's embeddings on training interactions: (V + 1, dimensions), of items that somebody has.

    Raises:
        InputError: words are wanted and nobody wrote any.
    """
    texts = ugc.texts(settings, data) if source.words else data.texts.clear()
    if source.words and texts.is_empty():
        raise InputError(
            "a source of 'modalities' of the kind 'interaction_graph' wants users' words and there are none: "
            "set 'words: false'"
        )
    torch.manual_seed(settings.modalities.seed)
    pairs = torch.stack([data.train.row, data.n_users + data.train.items - 1]).unique(dim=1)  # (2, m) users and items
    graph = to_undirected(torch.cat([pairs, torch.from_numpy(edges_of_words(texts, data))], 1))
    model = LightGCN(int(graph.max()) + 1, source.dimensions, source.layers)
    ends = pairs.unique()
    optimizer = torch.optim.Adam(model.parameters(), lr=source.learning_rate)
    for _ in tqdm(range(source.epochs), desc="graph", unit="epoch"):
        optimizer.zero_grad()
        bpr(model, graph, pairs, ends, data).backward()
        optimizer.step()
    with torch.no_grad():
        nodes = model.get_embedding(graph)[data.n_users : data.n_users + data.n_items].numpy()
    present = np.bincount(data.train.items.numpy(), minlength=data.n_items + 1) > 0
    nodes = np.pad(nodes, ((1, data.n_items - len(nodes)), (0, 0)))  # items at the end that nobody has are no nodes
    return ItemView(nodes * present[:, None], present)


def bpr(model: LightGCN, graph: Tensor, pairs: Tensor, ends: Tensor, data: Dataset) -> Tensor:
    """Compare every item that a user has with another one drawn at random.

    Args:
        model: of all nodes.
        graph: (2, n) its edges, in both directions.
        pairs: (2, m) users and their items, as nodes.
        ends: the distinct nodes of `pairs`, whose embeddings are kept small.
        data: for the sizes.
    """
    nodes = model.get_embedding(graph)
    others = torch.randint(data.n_users, min(data.n_users + data.n_items, len(nodes)), (pairs.shape[1],))
    users = nodes[pairs[0]]
    wins, loses = (users * nodes[pairs[1]]).sum(1), (users * nodes[others]).sum(1)
    return model.recommendation_loss(wins, loses, node_id=ends)
