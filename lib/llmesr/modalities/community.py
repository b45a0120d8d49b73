"""A graph of users, items and users' words, embedded by LightGCN (He et al., SIGIR 2020).

Who has an item, and which words an item or a user comes with, are edges. The embeddings are trained to tell the items
that a user has from those that they do not have (BPR); words take part because messages pass through them.
"""

from collections import Counter

import numpy as np
import torch
from torch import Tensor
from torch_geometric.nn import LightGCN
from torch_geometric.utils import to_undirected
from tqdm.auto import tqdm

from llmesr.embed import View
from llmesr.embed.voices import analyser
from llmesr.errors import InputError
from llmesr.prepare.dataset import Dataset
from llmesr.settings import CommunityView, Settings

LEAST_USES = 2
"""A word that occurs once ties nothing together."""


def edges_of_words(data: Dataset) -> np.ndarray:
    """List the edges from users and from items to words: (2, n) distinct nodes; users, then items, then words."""
    terms, pairs = analyser(), []
    for user, item, text in data.ugc.iter_rows():
        pairs += [(user, data.n_users + item - 1, term) for term in set(terms(text))]
    uses = Counter(term for *_, term in pairs)
    kept = sorted(term for term, count in uses.items() if count >= LEAST_USES)
    node = {term: data.n_users + data.n_items + place for place, term in enumerate(kept)}
    ends = {(end, node[term]) for user, item, term in pairs if term in node for end in (user, item)}
    return np.array(sorted(ends), np.int64).reshape(-1, 2).T


def make(settings: Settings, data: Dataset, source: CommunityView) -> View:
    """Train the graph's embeddings on training interactions: (V + 1, dimensions), of items that somebody has.

    Raises:
        InputError: words are asked for and nobody wrote any.
    """
    if source.words and data.ugc.is_empty():
        raise InputError(
            "a source of 'modalities' of the kind 'community' wants users' words and there are none: set 'words: false'"
        )
    torch.manual_seed(settings.modalities.seed)
    users = np.repeat(np.arange(data.n_users), data.train.lengths)
    had = torch.from_numpy(np.unique(np.stack([users, data.n_users + data.train.items - 1]), axis=1))
    words = edges_of_words(data) if source.words else np.zeros((2, 0), np.int64)
    graph = to_undirected(torch.cat([had, torch.from_numpy(words)], 1))
    model = LightGCN(int(graph.max()) + 1, source.dimensions, source.layers)
    ends = had.unique()
    optimizer = torch.optim.Adam(model.parameters(), lr=source.learning_rate)
    for _ in tqdm(range(source.epochs), desc="graph", unit="epoch"):
        optimizer.zero_grad()
        bpr(model, graph, had, ends, data).backward()
        optimizer.step()
    with torch.no_grad():
        nodes = model.get_embedding(graph)[data.n_users : data.n_users + data.n_items].numpy()
    present = np.bincount(data.train.items, minlength=data.n_items + 1) > 0
    nodes = np.pad(nodes, ((1, data.n_items - len(nodes)), (0, 0)))  # items at the end that nobody has are no nodes
    return View(nodes * present[:, None], present)


def bpr(model: LightGCN, graph: Tensor, had: Tensor, ends: Tensor, data: Dataset) -> Tensor:
    """Compare every item that a user has with another one drawn at random.

    Args:
        model: of all nodes.
        graph: (2, n) its edges, in both directions.
        had: (2, m) users and their items, as nodes.
        ends: the distinct nodes of `had`, whose embeddings are kept small.
        data: for the sizes.
    """
    nodes = model.get_embedding(graph)
    others = torch.randint(data.n_users, min(data.n_users + data.n_items, len(nodes)), (had.shape[1],))
    users = nodes[had[0]]
    wins, loses = (users * nodes[had[1]]).sum(1), (users * nodes[others]).sum(1)
    return model.recommendation_loss(wins, loses, node_id=ends)
