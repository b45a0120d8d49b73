"""Embeddings are kept by (encoder with its weights, pooling, precision, text): only what is missing is ever encoded."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from diskcache import Cache

from llmesr.errors import InputError
from llmesr.paths import shown

EncodeBatches = Callable[[Sequence[str]], Iterator[tuple[list[int], np.ndarray]]]


def encode_cached(texts: Sequence[str], identity: str, encode: EncodeBatches, folder: Path) -> np.ndarray:
    """Encode texts, each distinct one once, and keep every batch as soon as it is there.

    Args:
        texts: what to encode; repeats cost nothing.
        identity: what the vectors depend on beside the text (model, pooling, cut, precision).
        encode: the encoder; it is called only for texts that the cache lacks.
        folder: where the cache lies.

    Returns:
        (n, L) float32, row i for text i.

    Raises:
        InputError: the cache is damaged or cannot be written.
    """
    keys = [hashlib.sha256(f"{identity}\0{text}".encode()).hexdigest() for text in texts]
    distinct = dict(zip(keys, texts, strict=True))
    try:
        with Cache(str(folder), eviction_policy="none", size_limit=2**40) as cache:
            found = {key: cache.get(key) for key in distinct}
            lacking = [key for key, vector in found.items() if vector is None]
            if lacking:
                for batch, vectors in encode([distinct[key] for key in lacking]):
                    with cache.transact():
                        for position, vector in zip(batch, vectors, strict=True):
                            cache.set(lacking[position], vector.astype(np.float32).tobytes())
                            found[lacking[position]] = vector.astype(np.float32).tobytes()
        rows = {key: np.frombuffer(found[key], dtype=np.float32) for key in distinct}
        return np.stack([rows[key] for key in keys])
    except InputError:  # the encoder's own, which is a ValueError too
        raise
    except sqlite3.OperationalError as error:
        raise InputError(
            f"the embedding cache {shown(folder)} cannot be written ({error}): make room on the disk or the folder "
            "writable, and run again; what is in it is kept"
        ) from None
    except (sqlite3.DatabaseError, OSError, ValueError, TypeError) as error:
        raise InputError(f"the embedding cache {shown(folder)} is damaged ({error}): delete the folder") from None
