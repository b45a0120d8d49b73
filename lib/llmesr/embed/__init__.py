"""Stage 02: prompts → LLM → item and user embeddings, and their PCA.

What makes vectors is imported where it is used: transformers, peft, openai and scikit-learn take five seconds, and
nearly all who come here only load what was made.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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

TEXT = "text"
"""What the view that this stage makes is called among others."""


@dataclass(frozen=True)
class View:
    """What one modality knows of items.

    Attributes:
        vectors: (V + 1, L) of each item id; rows of items that it does not know are zero, and row 0 is.
        present: (V + 1,) which items it knows.
    """

    vectors: np.ndarray
    present: np.ndarray

    @classmethod
    def of(cls, items: np.ndarray, vectors: np.ndarray, n_items: int) -> "View":
        """Make a view of the vectors (n, L) of some items (n,), distinct ids from 1 to V."""
        found = cls(np.zeros((n_items + 1, vectors.shape[1]), np.float32), np.zeros(n_items + 1, bool))
        found.vectors[items], found.present[items] = vectors, True
        return found


@dataclass(frozen=True)
class Embeddings:
    """What stage 02 hands on.

    Attributes:
        items: (V + 1, L) LLM embedding of each item id; row 0, the padding, is zero.
        initial: (V + 1, D) their PCA, the first value of the collaborative table; row 0 is zero.
        users: (U, L) LLM embedding of each user's training history.
        views: by name, what further modalities (stage 21) know of items; none unless they are attached.
    """

    items: np.ndarray
    initial: np.ndarray
    users: np.ndarray
    views: Mapping[str, View] = field(default_factory=dict)

    @property
    def tables(self) -> dict[str, np.ndarray]:
        """What is written to a file: all but the views, which have their own."""
        return {"items": self.items, "initial": self.initial, "users": self.users}


def prompts(data: Dataset, settings: Settings) -> tuple[list[str], list[str]]:
    """Write every item's and every user's prompt (V and U texts), from training interactions only.

    Where the settings ask for it, a sentence on what users wrote about the item, or on what the user wrote, comes
    first: an encoder cuts long prompts at their end.
    """
    from llmesr.embed import voices

    chosen = settings.embed
    of_items = item_prompts(data.items, chosen.item_template, chosen.attribute_characters)
    of_users = user_prompts(data.train, data.titles, chosen.user_template, chosen.history_items)
    for texts, by, first, template in (
        (of_items, "item", 1, chosen.item_ugc_template),
        (of_users, "user", 0, chosen.user_ugc_template),
    ):
        told = voices.sentences(data.ugc, by, template, chosen.keywords) if template else {}
        for who, sentence in told.items():
            texts[who - first] = sentence + texts[who - first]
    return of_items, of_users


def identity(settings: Settings) -> str:
    """Say what an item's vector depends on beside its text and the template."""
    encoder = settings.embed.encoders[settings.embed.encoder]
    if isinstance(encoder, ApiEncoder):
        return f"{encoder.base_url} {encoder.model}"
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
        vectors = encode_cached(texts, identity(settings), ask, embedding_cache())
    else:
        with TemporaryDirectory() as folder:
            vectors = encode_cached(texts, identity(settings), ask, Path(folder))
    if settings.embed.normalize:
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
    return vectors


def make(settings: Settings, data: Dataset) -> Embeddings:
    """Write the prompts, encode them, and reduce the items' vectors; `embed.lora.epochs` tunes the encoder first.

    Raises:
        InputError: a template, the encoder or the cache is at fault.
    """
    from llmesr.embed.reduce import reduce

    item_texts, user_texts = prompts(data, settings)
    if settings.embed.lora.epochs:
        from llmesr.embed import tune

        settings = tune.tuned(settings, data.ugc, item_texts)
    items = encode(item_texts, settings)
    tables = {
        "items": np.pad(items, ((1, 0), (0, 0))),
        "initial": np.pad(reduce(items, settings.model.hidden), ((1, 0), (0, 0))),
        "users": encode(user_texts, settings),
    }
    # safetensors writes the memory as it lies: a transposed or Fortran-ordered array would come back scrambled
    return Embeddings(**{name: np.ascontiguousarray(table) for name, table in tables.items()})


def run(settings: Settings, data: Dataset) -> Embeddings:
    """Do the whole stage and write `artifacts/<dataset>/embed/embeddings.safetensors`.

    Raises:
        InputError: a template, the encoder or the cache is at fault, or it is asked to tune the encoder, which only a
            variant may: what comes later encodes with the encoder that the settings name.
    """
    if settings.embed.lora.epochs:
        raise InputError(
            "key 'embed.lora.epochs' is for variants of the study: set it to 0, and 'adapter' of the encoder to the "
            f"folder that a variant has written under runs/{data.name}/lora/"
        )
    found = make(settings, data)
    file = artifact(data.name, "embed") / "embeddings.safetensors"
    with replacing(file) as temporary:
        save_file(found.tables, temporary, metadata={"encoder": settings.embed.encoder})
    return found


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
    except SafetensorError as error:
        raise InputError(f"{shown(file)} is damaged ({error}): delete it and run `dvc repro embed`") from None
