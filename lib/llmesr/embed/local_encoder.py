"""A language model run here with `transformers`: texts in, one vector a text out."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm
from transformers import AutoModel, AutoTokenizer, GgufConfig, PreTrainedModel, PreTrainedTokenizerBase

from llmesr.devices import computes_bfloat16, pick_device
from llmesr.errors import InputError
from llmesr.notes import note
from llmesr.optional import optional
from llmesr.paths import ROOT, sha256, shown
from llmesr.settings import LocalEncoder

READ_FROM_A_FOLDER = ("*.safetensors", "*.bin", "*.json", "*.txt", "*.model")
"""Weights, configuration and tokenizer; a GGUF file holds all three."""

ADAPTER_WEIGHTS = "adapter_model.safetensors"


def dtype(settings: LocalEncoder) -> Literal["bfloat16", "float32"]:
    """Name the precision that the encoder computes in: `auto` is bfloat16 where the machine has it in hardware."""
    if settings.dtype == "auto":
        return "bfloat16" if computes_bfloat16(pick_device("auto")) else "float32"
    return settings.dtype


def identity(settings: LocalEncoder) -> str:
    """Say what vectors depend on beside the text: the settings, with `auto` resolved, and the model itself.

    A model in a local folder is known by the content of its files, one elsewhere by its id.
    """
    model, folder = settings.model, ROOT / settings.model
    if folder.is_dir():
        patterns = (settings.gguf_file,) if settings.gguf_file else READ_FROM_A_FOLDER
        files = sorted(file for pattern in patterns for file in folder.glob(pattern) if file.is_file())
        digests = "".join(f"{file.name} {sha256(file)}\n" for file in files)
        model = hashlib.sha256(digests.encode()).hexdigest()
    told = {"model": model, "dtype": dtype(settings)}
    if settings.adapter:
        folder = _adapter(settings)  # its settings say how much its weights weigh
        told["adapter"] = "".join(sha256(file) for file in sorted(folder.glob("adapter_*")))
    return settings.model_copy(update=told).model_dump_json(exclude_none=True)


def _adapter(settings: LocalEncoder) -> Path:
    """Find the folder of a LoRA.

    Raises:
        InputError: there is none.
    """
    folder = ROOT / settings.adapter
    if not (folder / ADAPTER_WEIGHTS).exists():
        raise InputError(f"{shown(folder)} holds no {ADAPTER_WEIGHTS}: name the folder of a LoRA as 'adapter', or null")
    return folder


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


def encode(
    texts: Sequence[str], settings: LocalEncoder, batch_tokens: int, name: str
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Encode texts in batches of similar length, longest first.

    Args:
        texts: what to encode.
        settings: model, pooling, cut.
        batch_tokens: tokens a batch at most, padding included.
        name: of the encoder in `embed.encoders`, for errors.

    Yields:
        the positions of a batch in `texts`, and their (b, L) float32 vectors.

    Raises:
        InputError: the model cannot be found or loaded, reads fewer tokens than `max_tokens`, or gives vectors that
            are not finite.
    """
    tokenizer, model = load(settings, name)
    tokens = tokenizer(list(texts), truncation=True, max_length=settings.max_tokens)["input_ids"]
    if cut := sum(len(row) >= settings.max_tokens for row in tokens):
        note(
            f"{cut:,} of {len(texts):,} texts reach {settings.max_tokens} tokens, and what comes after is not read: "
            f"raise 'embed.encoders.{name}.max_tokens' (to {_most_tokens(tokenizer, model):,} at most), or shorten the "
            "prompts"
        )
    for batch in tqdm(_batches([len(row) for row in tokens], batch_tokens), desc="encode", unit="batch"):
        padded = tokenizer.pad({"input_ids": [tokens[i] for i in batch]}, return_tensors="pt").to(model.device)
        with torch.inference_mode():
            states = model(**padded).last_hidden_state
        vectors = pool(states, padded["attention_mask"], settings.pooling).cpu().numpy()
        if not np.isfinite(vectors).all():
            raise InputError(
                f"encoder '{settings.model}' gave vectors that are not finite: set "
                f"'embed.encoders.{name}.dtype' to float32, or fetch its weights anew"
            )
        yield batch, vectors


def _batches(lengths: list[int], batch_tokens: int) -> list[list[int]]:
    """Cut positions, sorted from long to short, so that rows × longest stays within `batch_tokens`."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batches, start = [], 0
    while start < len(order):
        size = max(1, batch_tokens // max(lengths[order[start]], 1))
        batches.append(order[start : start + size])
        start += size
    return batches


def _most_tokens(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> int:
    """Return how long a text the model reads, by its own files; the tokenizer alone may not know."""
    positions = getattr(model.config, "max_position_embeddings", None)
    return min(tokenizer.model_max_length, positions or tokenizer.model_max_length)


def load(settings: LocalEncoder, name: str) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Load tokenizer and model, from a folder below the root if there is one, else by model id.

    Raises:
        InputError: they cannot be found or loaded, or read fewer tokens than `max_tokens`.
    """
    folder = ROOT / settings.model
    source = str(folder) if folder.is_dir() else settings.model
    options = {"gguf_file": settings.gguf_file} if settings.gguf_file else {}
    # weights left packed are unpacked at every product, which takes four times as long
    unpack = {"quantization_config": GgufConfig(dequantize=True)} if settings.gguf_file else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model = AutoModel.from_pretrained(source, dtype=getattr(torch, dtype(settings)), **options, **unpack)
    except Exception as error:  # a damaged file fails anywhere in the readers of safetensors, GGUF and tokenizers
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"encoder '{settings.model}' cannot be loaded ({reason}): run `make data`, or name "
            f"a model id or a folder below {shown(Path(ROOT))} in 'embed.encoders'"
        ) from None
    if settings.max_tokens > (limit := _most_tokens(tokenizer, model)):
        raise InputError(
            f"key 'embed.encoders.{name}.max_tokens' is {settings.max_tokens}, but '{settings.model}' reads {limit} "
            f"tokens at most: set it to {limit} or less"
        )
    if settings.adapter:
        with optional("ugc"):
            from peft import PeftModel
        model = PeftModel.from_pretrained(model, _adapter(settings)).merge_and_unload()
    model = model.eval().to(pick_device("auto"))
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, model
