"""Made-up pictures and sounds, and small untrained models that read them, for the tiny dataset's lessons.

A picture has the colour of its category and a sound its pitch, with noise; every fourth item has neither. The models
have the architectures of CLIP and AST, randomly initialised: what they see is little, but the way is the whole way.
"""

from pathlib import Path

import numpy as np
import soundfile
import torch
from matplotlib import colormaps
from PIL import Image
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from llmesr.prepare.dataset import Dataset

SIDE, RATE, SECONDS = 32, 16000, 0.5
MISSING_EVERY = 4


def write(folder: Path, data: Dataset, category: str, seed: int = 0) -> None:
    """Write `images/`, `audio/`, `clip/` and `ast/` below a folder."""
    rng = np.random.default_rng(seed)
    for part in ("images", "audio"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    kinds = sorted(data.items[category].unique())
    for item, name, kind in data.items.select("item", "item_id", category).iter_rows():
        if item % MISSING_EVERY == 0:
            continue
        place = kinds.index(kind)
        colour = np.array(colormaps["tab10"](place)[:3]) * 255
        pixels = np.clip(colour + rng.normal(0, 30, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
        time = np.arange(int(RATE * SECONDS)) / RATE
        wave = np.sin(2 * np.pi * 220 * 2 ** (place / 3) * time) * 0.3 + rng.normal(0, 0.02, len(time))
        soundfile.write(folder / "audio" / f"{name}.wav", wave, RATE)
    models(folder, seed)


def models(folder: Path, seed: int = 0) -> None:
    """Write a small CLIP vision tower to `clip/` and a small AST to `ast/`, both randomly initialised."""
    torch.manual_seed(seed)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = CLIPVisionConfig(**small, image_size=SIDE, patch_size=8, projection_dim=16)
    CLIPVisionModelWithProjection(vision).save_pretrained(folder / "clip")
    square = {"height": SIDE, "width": SIDE}
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=square).save_pretrained(folder / "clip")
    ASTModel(ASTConfig(**small, max_length=64, num_mel_bins=32)).save_pretrained(folder / "ast")
    ASTFeatureExtractor(max_length=64, num_mel_bins=32).save_pretrained(folder / "ast")
