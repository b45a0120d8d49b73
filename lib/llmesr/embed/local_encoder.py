"""A language model run here with `transformers`: texts in, one vector a text out."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import AutoModel, AutoTokenizer

from llmesr.devices import computes_bfloat16, pick_device
from llmesr.errors import InputError
from llmesr.paths import ROOT, shown
from llmesr.settings import LocalEncoder


def pool(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Pool token states to one vector a text.

    Args:
        states: (B, T, L) last hidden states; padding lies on the right.
        mask: (B, T) 1 where there is a token.
        pooling: `mean` over tokens, `last` token, or `cls` (the first).

    Returns:
        (B, L) float32.
    """
    states, mask = states.float(), mask.unsqueeze(-1).float()
    if pooling == "mean":
        return (states * mask).sum(1) / mask.sum(1)
    if pooling == "last":
        last = mask.squeeze(-1).sum(1).long() - 1
        return states[torch.arange(len(states)), last]
    return states[:, 0]


def encode(texts: Sequence[str], settings: LocalEncoder, batch_tokens: int) -> Iterator[tuple[list[int], np.ndarray]]:
    """Encode texts in batches of similar length, longest first.

    Args:
        texts: what to encode.
        settings: model, pooling, cut.
        batch_tokens: tokens a batch at most, padding included.

    Yields:
        the positions of a batch in `texts`, and their (b, L) float32 vectors.

    Raises:
        InputError: the model cannot be found or loaded.
    """
    tokenizer, model = _load(settings)
    tokens = tokenizer(list(texts), truncation=True, max_length=settings.max_tokens)["input_ids"]
    for batch in tqdm(_batches([len(row) for row in tokens], batch_tokens), desc="encode", unit="batch"):
        padded = tokenizer.pad({"input_ids": [tokens[i] for i in batch]}, return_tensors="pt").to(model.device)
        with torch.inference_mode():
            states = model(**padded).last_hidden_state
        yield batch, pool(states, padded["attention_mask"], settings.pooling).cpu().numpy()


def _batches(lengths: list[int], batch_tokens: int) -> list[list[int]]:
    """Cut positions, sorted from long to short, so that rows × longest stays within `batch_tokens`."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batches, start = [], 0
    while start < len(order):
        size = max(1, batch_tokens // max(lengths[order[start]], 1))
        batches.append(order[start : start + size])
        start += size
    return batches


def _load(settings: LocalEncoder) -> tuple:
    """Load tokenizer and model, from a folder below the root if there is one, else by model id."""
    folder = ROOT / settings.model
    source = str(folder) if folder.is_dir() else settings.model
    device = pick_device("auto")
    wanted = torch.bfloat16 if settings.dtype == "bfloat16" else torch.float32
    if settings.dtype == "auto" and computes_bfloat16(device):
        wanted = torch.bfloat16
    options = {"gguf_file": settings.gguf_file} if settings.gguf_file else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model = AutoModel.from_pretrained(source, dtype=wanted, **options).eval().to(device)
    except (OSError, ValueError) as error:
        raise InputError(
            f"encoder '{settings.model}' cannot be loaded ({str(error).splitlines()[0]}): run `make data`, or name "
            f"a model id or a folder below {shown(Path(ROOT))} in 'embed.encoders'"
        ) from None
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, model
