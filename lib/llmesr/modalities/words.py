"""What users wrote about an item, as a view of its own: the mean of its texts' LLM embeddings."""

import numpy as np

from llmesr import embed
from llmesr.embed import View
from llmesr.prepare.dataset import Dataset
from llmesr.settings import Settings, WordsView


def make(settings: Settings, data: Dataset, source: WordsView) -> View:
    """Encode every text and average over those of an item: (V + 1, L); items of which nobody wrote are missing."""
    written, place = np.unique(data.ugc["item"].to_numpy(), return_inverse=True)
    if not len(written):
        return View.of(written, np.zeros((0, 1)), data.n_items)
    vectors = embed.encode(data.ugc["text"].to_list(), settings)
    sums = np.zeros((len(written), vectors.shape[1]), np.float32)
    np.add.at(sums, place, vectors)
    return View.of(written, sums / np.bincount(place)[:, None].astype(np.float32), data.n_items)
