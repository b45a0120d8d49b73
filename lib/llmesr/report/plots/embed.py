"""Looks at embeddings, for the lessons."""

import time

import numpy as np
import polars as pl
from sklearn.decomposition import PCA

from llmesr import embed
from llmesr.errors import InputError
from llmesr.prepare.dataset import Dataset
from llmesr.settings import Settings


def nearest_items(embeddings: np.ndarray, data: Dataset, item: int, k: int) -> pl.DataFrame:
    """List the k items whose embeddings have the greatest cosine with one item's, itself first.

    Args:
        embeddings: (V + 1, L); row 0 is padding.
        data: for titles and training counts.
        item: id from 1 to V.
        k: how many.
    """
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True).clip(min=1e-12)
    cosine = unit @ unit[item]
    cosine[0] = -np.inf
    order = np.argsort(-cosine, kind="stable")[:k]
    counts = np.concatenate([[0], data.items["count"].to_numpy()])
    return pl.DataFrame(
        {
            "item": order,
            "title": [data.titles[i] for i in order],
            "trained on": counts[order],
            "cosine": cosine[order].round(3),
        }
    )


def explained_variance(embeddings: np.ndarray) -> np.ndarray:
    """Return the cumulative share of variance that the leading principal components keep: (min(V, L),)."""
    return np.cumsum(PCA().fit(embeddings[1:]).explained_variance_ratio_)


def nearest(settings: Settings, data: Dataset, item: int, k: int) -> list[str]:
    """List the titles of the k items nearest to one by an encoder's vectors, encoded through the cache."""
    texts, _ = embed.prompts(data, settings)
    vectors = np.pad(embed.encode(texts, settings), ((1, 0), (0, 0)))
    return nearest_items(vectors, data, item, k + 1)["title"].to_list()[1:]


def throughput(settings: Settings, data: Dataset, sample: int = 12) -> float:
    """Measure how many item prompts an encoder turns into vectors a second, without the cache.

    The clock starts with the first batch's vectors, so that loading the model does not count.

    Args:
        settings: of the encoder and the prompt.
        data: whose first items are the sample.
        sample: how many different ones.
    """
    texts = list(dict.fromkeys(embed.prompts(data, settings)[0]))[:sample]
    few_batches = max(1, sum(map(len, texts)) // 16)  # a token has about four characters: some four batches
    chosen = settings.embed.model_copy(update={"batch_tokens": few_batches})
    done = []
    for batch, _ in embed.in_batches(texts, settings.model_copy(update={"embed": chosen})):
        done.append((len(batch), time.perf_counter()))
    if len(done) < 2:
        raise InputError(f"{len(texts)} different texts are one batch: a larger sample is needed to time them")
    return sum(n for n, _ in done[1:]) / (done[-1][1] - done[0][1])
