"""Texts to vectors: our encoder on the dataset's item prompts, without the time to load the model."""

import time
from functools import cache
from pathlib import Path

import numpy as np
import torch
from llmesr import embed
from llmesr.embed import local_encoder
from llmesr.errors import InputError
from llmesr.paths import from_root
from llmesr.prepare import dataset
from llmesr.settings import LocalEncoder, Settings, load

from benchmarks.timing import read_job, report


def texts_of(settings: Settings) -> list[str]:
    """List the item prompts of the dataset."""
    return embed.prompts(dataset.load(settings.dataset), settings)[0]


def chosen(settings: Settings, name: str, dtype: str) -> LocalEncoder:
    """Take an encoder of the settings, in another precision.

    Raises:
        InputError: it is not there, or is not one that `transformers` runs here.
    """
    found = settings.embed.encoders.get(name)
    if not isinstance(found, LocalEncoder):
        raise InputError(f"`make bench` compares the encoder '{name}': 'embed.encoders' must have it, run here")
    return found.model_copy(update={"dtype": dtype})


def distance(found: np.ndarray, file: Path) -> float:
    """Measure the greatest cosine distance between vectors (n, L) and those in a file, row by row."""
    unit, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (found, np.load(file)))
    return float(1 - (unit.astype(np.float64) * other).sum(1).min())


def main() -> None:
    """Write the texts for the other side, or measure ours."""
    torch.set_num_threads(1)
    job = read_job()
    settings, folder = load(job["params"]), Path(job["folder"])
    encoder = chosen(settings, job["encoder"], job["dtype"])
    texts = texts_of(settings)
    local_encoder.load = cache(local_encoder.load)  # neither side's time holds the loading of the model
    tokenizer, _ = local_encoder.load(encoder, job["encoder"])
    tokens = sum(len(row) for row in tokenizer(texts, truncation=True, max_length=encoder.max_tokens)["input_ids"])
    if job["system"] == "data":
        (folder / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
        report({"tokens": tokens, "texts": len(texts)}, str(from_root(encoder.model)))
        return
    encode = {"settings": encoder, "batch_tokens": settings.embed.batch_tokens, "name": job["encoder"]}
    list(local_encoder.encode(texts[:64], **encode))
    vectors = np.zeros((len(texts), 0), np.float32)
    began = time.perf_counter()
    for rows, found in local_encoder.encode(texts, **encode):
        vectors = vectors if vectors.size else np.zeros((len(texts), found.shape[1]), np.float32)
        vectors[rows] = found
    seconds = time.perf_counter() - began
    values = {"texts_per_second": len(texts) / seconds, "tokens_per_second": tokens / seconds}
    if job["dtype"] == "float32":
        np.save(folder / "float32.npy", vectors)
    else:
        values["max_cosine_distance"] = distance(vectors, folder / "float32.npy")
    report(values, f"computes in {local_encoder.dtype(encoder)}")


if __name__ == "__main__":
    main()
