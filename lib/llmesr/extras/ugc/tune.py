"""The encoder tuned on what users wrote: a LoRA (Hu et al., ICLR 2022), by contrast.

A pair is what a user wrote about an item, and the item's prompt. Within a batch, each text has to find its own item's
prompt, and each prompt a text of its own (InfoNCE both ways). The encoder itself stays as it is; what is learned is a
few low-rank matrices beside it.
"""

import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from llmesr.embed import local_encoder
from llmesr.errors import InputError
from llmesr.optional import optional
from llmesr.paths import from_root, replacing_folder
from llmesr.settings import LocalEncoder, LoraSettings, Settings

with optional("ugc"):
    from peft import LoraConfig, get_peft_model

LEAST_PAIRS = 16
"""Fewer texts are not worth tuning on."""


def obstacle(settings: Settings, texts: pl.DataFrame) -> str | None:
    """Say why the chosen encoder cannot be tuned on texts (`user`, `item`, `text`); None if it can."""
    name = settings.embed.encoder
    encoder = settings.embed.encoders[name]
    if not isinstance(encoder, LocalEncoder):
        return f"encoder '{name}' is reached over the network and cannot be tuned"
    if encoder.adapter:
        return f"encoder '{name}' has the adapter '{encoder.adapter}' already"
    if texts.height < LEAST_PAIRS:
        return f"only {texts.height} texts by users are left after cleaning, and tuning needs {LEAST_PAIRS}"
    return None


def tuned(settings: Settings, texts: pl.DataFrame, item_texts: list[str]) -> Settings:
    """Tune the chosen encoder, unless that was done before, and choose the tuned one.

    Args:
        settings: of the encoder, and `embed.lora`.
        texts: `user`, `item`, `text`, cleaned.
        item_texts: V prompts.

    Raises:
        InputError: the encoder is not one that runs here, or has an adapter, or there are hardly any texts.
    """
    if reason := obstacle(settings, texts):
        raise InputError(f"{reason}: set 'embed.lora.epochs' to 0")
    name, lora, seed = settings.embed.encoder, settings.embed.lora, settings.prepare.seed
    encoder = settings.embed.encoders[name]
    pairs = [(text, item_texts[item - 1], item) for item, text in texts.select("item", "text").iter_rows()]
    parts = [local_encoder.identity(encoder), lora.model_dump_json(), str(seed), Path(__file__).read_text("utf-8")]
    parts += [f"{text}\0{prompt}" for text, prompt, _ in pairs]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    folder = from_root(f"runs/{settings.dataset}/lora/{digest}")
    if not folder.exists():
        fit(pairs, encoder, name, lora, seed, folder)
    chosen = encoder.model_copy(update={"adapter": str(folder)})
    embed = settings.embed.model_copy(update={"encoders": {**settings.embed.encoders, name: chosen}})
    return settings.model_copy(update={"embed": embed})


def fit(
    pairs: list[tuple[str, str, int]], encoder: LocalEncoder, name: str, lora: LoraSettings, seed: int, folder: Path
) -> list[float]:
    """Train a LoRA on pairs (text, prompt, item) and save it to a folder; `name` is the encoder's in the settings.

    Returns:
        the mean loss of each epoch.
    """
    torch.manual_seed(seed)
    tokenizer, base = local_encoder.load(encoder.model_copy(update={"dtype": "float32"}), name)
    config = LoraConfig(r=lora.rank, lora_alpha=2 * lora.rank, lora_dropout=0.1, target_modules="all-linear")
    model = get_peft_model(base, config).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lora.learning_rate)
    rng, losses = np.random.default_rng(seed), []

    def encode(texts: list[str]) -> Tensor:
        tokens = tokenizer(texts, truncation=True, max_length=encoder.max_tokens, padding=True, return_tensors="pt")
        tokens = tokens.to(base.device)
        states = model(**tokens).last_hidden_state  # (B, tokens, L)
        return local_encoder.pool(states, tokens["attention_mask"], encoder.pooling)  # (B, L)

    for _ in tqdm(range(lora.epochs), desc="tune", unit="epoch"):
        order, epoch = rng.permutation(len(pairs)), []
        for start in range(0, len(order) - 1, lora.batch_size):  # a last batch of one pair would have no negatives
            texts, prompts, items = zip(*(pairs[i] for i in order[start : start + lora.batch_size]), strict=True)
            loss = info_nce(encode(list(texts)), encode(list(prompts)), torch.tensor(items), lora.temperature)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            epoch.append(float(loss.detach()))
        losses.append(float(np.mean(epoch)))
    with replacing_folder(folder) as temporary:
        model.save_pretrained(temporary)
    return losses


def info_nce(texts: Tensor, prompts: Tensor, items: Tensor, temperature: float) -> Tensor:
    """Contrast texts (B, L) with prompts (B, L), both ways; pairs of one item are no negatives of each other.

    Args:
        texts: vectors of what users wrote.
        prompts: vectors of the prompts of the items that they wrote about.
        items: (B,) which items these are.
        temperature: of the cosine.
    """
    scores = F.normalize(texts, dim=-1) @ F.normalize(prompts, dim=-1).T / temperature  # (B, B)
    same = (items[:, None] == items).fill_diagonal_(False).to(scores.device)
    scores = scores.masked_fill(same, float("-inf"))
    answers = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, answers) + F.cross_entropy(scores.T, answers)) / 2
