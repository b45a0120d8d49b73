"""Stage 02: prompts → LLM → item and user embeddings, and their PCA.

What makes vectors is imported where it is used: transformers, openai and scikit-learn take five seconds, and nearly all
who come here only load what was made.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from llmesr.embed.cache import encode_cached
from llmesr.embed.prompts import item_prompts, user_prompts
from llmesr.errors import InputError
from llmesr.paths import artifact, embedding_cache, replacing, shown
from llmesr.prepare.dataset import Dataset
from llmesr.settings import ApiEncoder, Settings


@dataclass(frozen=True)
class Embeddings:
    """What stage 02 hands on.

    Attributes:
        items: (V + 1, L) LLM embedding of each item id; row 0, the padding, is zero.
        pca: (V + 1, D) their PCA, the first value of the collaborative table; row 0 is zero.
        users: (U, L) LLM embedding of each user's training history.
    """

    items: np.ndarray
    pca: np.ndarray
    users: np.ndarray


def prompts(data: Dataset, settings: Settings) -> tuple[list[str], list[str]]:
    """Write every item's and every user's prompt (V and U texts), from training interactions only."""
    chosen = settings.embed
    return (
        item_prompts(data.items, chosen.item_template, chosen.attribute_characters),
        user_prompts(data.train, data.titles, chosen.user_template, chosen.history_items),
    )


def identity(settings: Settings) -> str:
    """Say what an item's vector depends on beside its text and the template."""
    encoder = settings.embed.encoders[settings.embed.encoder]
    if isinstance(encoder, ApiEncoder):
        return " ".join(filter(None, (encoder.base_url, encoder.model, encoder.revision)))
    from llmesr.embed import local_encoder

    return local_encoder.identity(encoder)


def in_batches(texts: Sequence[str], settings: Settings) -> Iterator[tuple[list[int], np.ndarray]]:
    """Encode texts with the chosen encoder, past the cache: the positions of a batch, and their vectors as they come.

    Raises:
        InputError: the encoder cannot be found or fails.
    """
    encoder = settings.embed.encoders[settings.embed.encoder]
    if isinstance(encoder, ApiEncoder):
        from llmesr.embed import api_encoder

        return api_encoder.encode(texts, settings=encoder)
    from llmesr.embed import local_encoder

    name, budget = settings.embed.encoder, settings.embed.batch_tokens
    return local_encoder.encode(texts, settings=encoder, batch_tokens=budget, name=name)


def encode(texts: list[str], settings: Settings, *, cached: bool = True) -> np.ndarray:
    """Encode texts with the chosen encoder, through the cache unless told otherwise: (n, L) float32.

    Raises:
        InputError: the encoder cannot be found or fails, or the cache is damaged.
    """
    ask = partial(in_batches, settings=settings)
    if cached:
        vectors = encode_cached(texts, identity(settings), ask, embedding_cache(), settings.embed.encoder)
    else:
        with TemporaryDirectory() as folder:
            vectors = encode_cached(texts, identity(settings), ask, Path(folder), settings.embed.encoder)
    if settings.embed.normalize:
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
    return vectors


def make(settings: Settings, data: Dataset) -> Embeddings:
    """Write the prompts, encode them, and reduce the items' vectors.

    Raises:
        InputError: a template, the encoder or the cache is at fault.
    """
    return from_prompts(settings, *prompts(data, settings))


def from_prompts(settings: Settings, item_texts: list[str], user_texts: list[str]) -> Embeddings:
    """Encode prompts of items (V) and users (U), and reduce the items' vectors.

    Raises:
        InputError: the encoder or the cache is at fault.
    """
    from llmesr.embed.reduce import reduce

    items = encode(item_texts, settings)
    tables = {
        "items": np.pad(items, ((1, 0), (0, 0))),
        "pca": np.pad(reduce(items, settings.model.hidden), ((1, 0), (0, 0))),
        "users": encode(user_texts, settings),
    }
    # safetensors writes the memory as it lies: a transposed or Fortran-ordered array would come back scrambled
    return Embeddings(**{name: np.ascontiguousarray(table) for name, table in tables.items()})


def run(settings: Settings, data: Dataset) -> Embeddings:
    """Do the whole stage and write `artifacts/<dataset>/embed/embeddings.safetensors`.

    Raises:
        InputError: a template, the encoder or the cache is at fault, or it is asked to tune the encoder, which only an
            experiment may: what comes later encodes with the encoder that the settings name.
    """
    if settings.embed.lora.epochs:
        raise InputError(
            "key 'embed.lora.epochs' is for experiments: set it to 0, and 'adapter' of the encoder to the folder that "
            f"an experiment has written under runs/{data.name}/lora/"
        )
    if settings.ugc.item_template or settings.ugc.user_template:
        raise InputError("keys 'ugc.item_template' and 'ugc.user_template' are for experiments: set them to null")
    embeddings = make(settings, data)
    file = artifact(data.name, "embed") / "embeddings.safetensors"
    with replacing(file) as temporary:
        save_file(vars(embeddings), temporary, metadata={"encoder": settings.embed.encoder})
    return embeddings


def load(name: str) -> Embeddings:
    """Load what the stage wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    file = artifact(name, "embed") / "embeddings.safetensors"
    if not file.exists():
        raise InputError(f"{shown(file)} is missing: run `dvc repro embed` first")
    try:
        return Embeddings(**load_file(file))
    except (SafetensorError, TypeError) as error:
        raise InputError(f"{shown(file)} is damaged ({error}): delete it and run `dvc repro embed`") from None
