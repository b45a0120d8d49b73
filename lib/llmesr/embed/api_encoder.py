"""An OpenAI-compatible embeddings endpoint: texts in, one vector a text out."""

import os
from collections.abc import Iterator, Sequence

import numpy as np
from openai import OpenAI, OpenAIError
from tqdm import tqdm

from llmesr.errors import InputError
from llmesr.settings import ApiEncoder


def encode(texts: Sequence[str], settings: ApiEncoder) -> Iterator[tuple[list[int], np.ndarray]]:
    """Ask the endpoint in batches; the client retries with exponential back-off.

    Args:
        texts: what to encode.
        settings: endpoint, model, the environment variable that holds the key.

    Yields:
        the positions of a batch in `texts`, and their (b, L) float32 vectors.

    Raises:
        InputError: the key is not set, or the endpoint fails after all retries or answers nonsense.
    """
    key = os.environ.get(settings.key_variable)
    if not key:
        raise InputError(f"environment variable {settings.key_variable} is not set: it must hold the endpoint's key")
    client = OpenAI(
        api_key=key,
        base_url=settings.base_url,
        max_retries=settings.retries,
        timeout=settings.timeout_seconds,
    )
    for start in tqdm(range(0, len(texts), settings.batch_size), desc="encode", unit="batch"):
        batch = list(range(start, min(start + settings.batch_size, len(texts))))
        yield batch, _ask(client, [texts[i] for i in batch], settings)


def _ask(client: OpenAI, texts: list[str], settings: ApiEncoder) -> np.ndarray:
    """Get the vectors of one batch, in its order."""
    where = f"encoder at {settings.base_url}"
    try:
        answer = client.embeddings.create(model=settings.model, input=texts, encoding_format="float")
        vectors = [row.embedding for row in sorted(answer.data, key=lambda row: row.index)]
        table = np.array(vectors, dtype=np.float32)
    except OpenAIError as error:
        raise InputError(f"{where} failed: {error}") from None
    except (AttributeError, TypeError, ValueError):  # the client does not check the body: HTML, other JSON, half of it
        raise InputError(f"{where} answers, but not with embeddings: check 'base_url' in 'embed.encoders'") from None
    if len(vectors) != len(texts):
        raise InputError(f"{where} gave {len(vectors)} vectors for {len(texts)} texts: check 'base_url' and 'model'")
    if table.ndim != 2 or not np.isfinite(table).all():
        raise InputError(f"{where} gave vectors that are not finite: check 'embed.encoders'")
    return table
