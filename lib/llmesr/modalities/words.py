"""What users wrote about an item, as a view of its own: the mean of its texts' LLM embeddings."""

import numpy as np

from llmesr import embed
from llmesr.embed import View
from llmesr.prepare.dataset import Dataset
from llmesr.settings import Settings, WordsView


def make(settings: Settings, data: Dataset, source: WordsView) -> View:
    """Encode every text and average over those of an item: (V + 1, L); items of which nobody wrote are missing."""
    width = 1
    sums, counts = np.zeros((data.n_items + 1, width), np.float32), np.zeros(data.n_items + 1, np.int64)
    if data.ugc.height:
        vectors = embed.encode(data.ugc["text"].to_list(), settings)
        items = data.ugc["item"].to_numpy()
        sums = np.zeros((data.n_items + 1, vectors.shape[1]), np.float32)
        np.add.at(sums, items, vectors)
        counts = np.bincount(items, minlength=data.n_items + 1)
    return View(sums / np.maximum(counts, 1)[:, None].astype(np.float32), counts > 0)
