"""Synthetic pictures and sounds, and small untrained models that read them, for the tiny dataset's lessons.

A picture has the colour of its category and a sound its pitch, with noise; every fourth item has neither. The models
have the architectures of CLIP and AST, randomly initialised. Their vectors mean little; they show the way from a file
to a score.
"""

from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from llmesr.optional import optional
from llmesr.paths import replacing_folder
from llmesr.prepare.dataset import Dataset

with optional("modalities"):
    import soundfile
    from PIL import Image

SIDE, RATE, SECONDS = 32, 16000, 0.5
"""Pixels of a picture's side, samples a second of a sound, and its length."""
MISSING_EVERY = 4
LOWEST = 220
"""Hertz of the first category's sound; the next ones are a major third higher each."""


def write(folder: Path, data: Dataset, category: str, seed: int = 0) -> None:
    """Write `images/`, `audio/`, `clip/` and `ast/` into a folder, which is replaced.

    Args:
        folder: where to.
        data: of the items.
        category: the column that gives colour and pitch.
        seed: of noise and weights.
    """
    rng = np.random.default_rng(seed)
    with replacing_folder(folder) as temporary:
        for part in ("images", "audio"):
            (temporary / part).mkdir()
        categories = sorted(data.items[category].unique())
        for item, name, own in data.items.select("item", "item_id", category).iter_rows():
            if item % MISSING_EVERY == 0:
                continue
            number = categories.index(own)
            colour = np.array(colormaps["tab10"](number)[:3]) * 255
            pixels = np.clip(colour + rng.normal(0, 30, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(temporary / "images" / f"{name}.png")
            time = np.arange(int(RATE * SECONDS)) / RATE
            wave = np.sin(2 * np.pi * LOWEST * 2 ** (number / 3) * time) * 0.3 + rng.normal(0, 0.02, len(time))
            soundfile.write(temporary / "audio" / f"{name}.wav", wave, RATE)
        models(temporary, seed)


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
