"""An OpenAI-compatible embeddings endpoint: texts in, one vector a text out."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import NoReturn
from urllib.parse import urlsplit

import numpy as np
from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAI, OpenAIError
from tqdm import tqdm

from llmesr.errors import InputError
from llmesr.settings import ApiEncoder

QUOTED = 300
"""Characters of a server's own words that a message repeats."""


def encode(texts: Sequence[str], settings: ApiEncoder) -> Iterator[tuple[list[int], np.ndarray]]:
    """Ask the endpoint in batches; the client retries with exponential back-off.

    Args:
        texts: what to encode.
        settings: endpoint, model, the environment variable that holds the key.

    Yields:
        the positions of a batch in `texts`, and their (b, L) float32 vectors: finite, none of them zero, and not all
        the same.

    Raises:
        InputError: the key or the address cannot be right, or the endpoint fails after all retries or answers with
            anything but one vector a text.
    """
    client = OpenAI(
        api_key=_key(settings.key_variable),
        base_url=_address(settings.base_url),
        max_retries=settings.retries,
        timeout=settings.timeout_seconds,
    )
    for start in tqdm(range(0, len(texts), settings.batch_size), desc="encode", unit="batch"):
        batch = list(range(start, min(start + settings.batch_size, len(texts))))
        yield batch, _ask(client, [texts[i] for i in batch], settings)


def _key(variable: str) -> str:
    """Read the key; blanks and line ends around it, which files and shells leave there, are no part of it."""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise InputError(f"environment variable {variable} is not set: it must hold the endpoint's key")
    if odd := re.search(r"[^!-~]|^['\"]|['\"]$", key):
        raise InputError(
            f"environment variable {variable} holds the character {odd[0]!r}, which is no part of a key: "
            "set it to the bare key, without quotes or blanks"
        )
    return key


def _address(url: str) -> str:
    """Check what would otherwise fail as a mere connection error, after all retries."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and not re.search(r"\s", url) and parts.port != 0
    except ValueError:  # a port that is no number, an unclosed [
        fits = False
    if not fits:
        raise InputError(
            f"key 'base_url' in 'embed.encoders' is '{url}', which is no address: "
            "write it like http://localhost:8000/v1"
        )
    if parts.path.rstrip("/").endswith("/embeddings"):
        raise InputError(f"key 'base_url' in 'embed.encoders' is '{url}': leave out /embeddings, which is added")
    return url


def _ask(client: OpenAI, texts: list[str], settings: ApiEncoder) -> np.ndarray:
    """Get the vectors of one batch, in its order."""
    where = f"encoder '{settings.model}' at {settings.base_url}"
    try:
        # raw, since the client does not check a body: HTML, other JSON and half an answer all pass
        answer = client.embeddings.with_raw_response.create(model=settings.model, input=texts, encoding_format="float")
    except APITimeoutError:
        raise InputError(
            f"{where} gave no answer within {settings.timeout_seconds:g} seconds, {settings.retries + 1} times: "
            "is it up? Raise 'timeout_seconds' if it is slow"
        ) from None
    except APIConnectionError as error:
        raise InputError(f"{where} cannot be reached ({error.__cause__ or error}): check 'base_url'") from None
    except APIStatusError as error:
        raise InputError(f"{where} failed with status {error.status_code}: {_quote(error.response.text)}") from None
    except OpenAIError as error:
        raise InputError(f"{where} failed: {_quote(str(error))}") from None
    return _vectors(answer.text, len(texts), where)


def _vectors(body: str, n: int, where: str) -> np.ndarray:
    """Read n vectors of equal width from an answer: (n, L) float32, in the order of the texts."""

    def refuse(problem: str) -> NoReturn:
        raise InputError(f"{where} {problem}; it said: {_quote(body)}: check 'base_url' and 'model'") from None

    try:
        rows = json.loads(body)["data"]
        vectors = [row["embedding"] for row in rows]
        places = [_index(row.get("index"), i) for i, row in enumerate(rows)]
    except (ValueError, KeyError, TypeError, AttributeError):
        refuse("answers, but not with embeddings")
    if len(rows) != n:
        refuse(f"gave {len(rows)} vectors for {n} texts")
    if sorted(places) != list(range(n)):
        refuse(f"numbered the vectors of {n} texts {_quote(str(places))}")
    try:
        with np.errstate(over="ignore"):  # becomes infinite, which is found below
            table = np.array([vectors[places.index(i)] for i in range(n)], dtype=np.float32)
    except (ValueError, TypeError, OverflowError):
        refuse("gave vectors of unequal length, or not of numbers")
    if table.ndim != 2 or table.shape[1] == 0:
        refuse("gave empty vectors, or not one vector a text")
    if not np.isfinite(table).all():
        refuse("gave vectors that are not finite")
    if not table.any(1).all():
        refuse("gave vectors of nothing but zeros")
    if n > 2 and (table == table[0]).all():
        refuse(f"gave the same vector for {n} different texts")
    return table


def _index(given: object, place: int) -> int:
    """Read an answer's number: an integer, some servers' text of one, or its place where there is no number at all."""
    if given is None:
        return place
    if isinstance(given, bool) or not isinstance(given, int | str):
        raise TypeError
    return int(given)


def _quote(text: str) -> str:
    """Cut what a server said to one short line."""
    words = " ".join(text.split())
    return f"'{words[:QUOTED]}{'…' if len(words) > QUOTED else ''}'" if words else "nothing"
