"""Embeddings are kept by (encoder with its weights, pooling, precision, text): only what is missing is ever encoded."""

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from diskcache import Cache

from llmesr.errors import InputError
from llmesr.paths import shown

EncodeBatches = Callable[[Sequence[str]], Iterator[tuple[list[int], np.ndarray]]]


def encode_cached(
    texts: Sequence[str], identity: str, encode: EncodeBatches, folder: Path, name: str = "encoder"
) -> np.ndarray:
    """Encode texts, each distinct one once, and keep every batch as soon as it is there.

    What is kept but cannot be an embedding (empty, not finite, nothing but zeros, of another width than most of this
    encoder's) is encoded anew.

    Args:
        texts: what to encode; repeats cost nothing.
        identity: what the vectors depend on beside the text (model, pooling, cut, precision).
        encode: the encoder; it is called only for texts that the cache lacks.
        folder: where the cache lies.
        name: what messages call the encoder.

    Returns:
        (n, L) float32, row i for text i.

    Raises:
        InputError: the cache is damaged or cannot be written, or the encoder's vectors are of another width than those
            that are kept of it.
    """
    keys = [_key(identity, text) for text in texts]
    distinct = dict(zip(keys, texts, strict=True))
    width_key = f"width {_key(identity, '')}"  # no text's
    try:
        with Cache(str(folder), eviction_policy="none", size_limit=2**40) as cache:
            kept = {key: vector for key in distinct if (vector := _vector(cache.get(key))) is not None}
            widths = Counter(map(len, kept.values())).most_common(1)
            width = widths[0][0] if widths else cache.get(width_key)
            found = {key: vector for key, vector in kept.items() if len(vector) == width}
            lacking = [key for key in distinct if key not in found]
            if lacking:
                for batch, vectors in encode([distinct[key] for key in lacking]):
                    width = width or vectors.shape[1]
                    if vectors.shape[1] != width:
                        raise InputError(_other_width(name, vectors.shape[1], width))
                    with cache.transact():
                        cache.set(width_key, width)
                        for position, vector in zip(batch, vectors.astype(np.float32), strict=True):
                            cache.set(lacking[position], vector.tobytes())
                            found[lacking[position]] = vector
        return np.stack([found[key] for key in keys])
    except sqlite3.OperationalError as error:
        raise InputError(
            f"the embedding cache {shown(folder)} cannot be written ({error}): make room on the disk or the folder "
            "writable, and run again; what is in it is kept"
        ) from None
    except (sqlite3.DatabaseError, OSError) as error:
        raise InputError(
            f"the embedding cache {shown(folder)} is damaged ({error}): rename the folder, so that a new one is made; "
            "`sqlite3 cache.db .recover` can save what was paid for"
        ) from None


def _key(identity: str, text: str) -> str:
    return hashlib.sha256(f"{identity}\0{text}".encode()).hexdigest()


def _vector(stored: object) -> np.ndarray | None:
    """Read what is kept of a text, (L,), or None if it is nothing or cannot be an embedding."""
    if not isinstance(stored, bytes) or not stored or len(stored) % 4:
        return None
    vector = np.frombuffer(stored, dtype=np.float32)
    return vector if np.isfinite(vector).all() and vector.any() else None


def _other_width(name: str, given: int, kept: int) -> str:
    return (
        f"encoder '{name}' gave vectors of {given} numbers, but those kept of it have {kept}: if the model behind the "
        f"name has changed, set 'embed.encoders.{name}.revision' to a new word, and everything is encoded anew; what "
        "is kept is not lost"
    )
