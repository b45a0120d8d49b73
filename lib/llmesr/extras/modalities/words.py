"""What users wrote about an item, as a view of its own: the mean of its texts' LLM embeddings."""

import numpy as np

from llmesr import embed
from llmesr.extras import ugc
from llmesr.models.inputs import ItemView
from llmesr.prepare.dataset import Dataset
from llmesr.settings import Settings, WordsSource


def make(settings: Settings, data: Dataset, source: WordsSource) -> ItemView:
    """Encode every text and average over those of an item: (V + 1, L); items that nobody wrote about are missing."""
    texts = ugc.texts(settings, data)
    items, row = np.unique(texts["item"].to_numpy(), return_inverse=True)  # (n,), (texts,)
    if not len(items):
        return ItemView.of(items, np.zeros((0, 1)), data.n_items)
    vectors = embed.encode(texts["text"].to_list(), settings)  # (texts, L)
    sums = np.zeros((len(items), vectors.shape[1]), np.float32)
    np.add.at(sums, row, vectors)
    return ItemView.of(items, sums / np.bincount(row)[:, None].astype(np.float32), data.n_items)
