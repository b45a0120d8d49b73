"""Pictures of items, `<item_id>.jpg` or `.png`, encoded by CLIP's vision tower (Radford et al., ICML 2021)."""

from pathlib import Path

import numpy as np
import torch
from transformers import AutoImageProcessor, CLIPVisionModelWithProjection

from llmesr.errors import InputError
from llmesr.extras.modalities import files
from llmesr.models.inputs import ItemView
from llmesr.optional import optional
from llmesr.paths import shown
from llmesr.prepare.dataset import Dataset
from llmesr.settings import ImageSource, Settings

with optional("modalities"):
    from PIL import Image, UnidentifiedImageError

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")


def read(file: Path) -> Image.Image:
    """Read a picture in colour.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with Image.open(file) as picture:
            return picture.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise InputError(f"{shown(file)} cannot be read as a picture ({error}): replace or delete it") from None


def make(settings: Settings, data: Dataset, source: ImageSource) -> ItemView:
    """Encode the pictures: (V + 1, L).

    Raises:
        InputError: the folder, a picture or the model is missing or at fault.
    """
    pictures = files.of_items(settings.folder / source.folder, ENDINGS, data)
    processor, model = files.load(source.model, AutoImageProcessor, CLIPVisionModelWithProjection, "a CLIP")

    def encode(batch: list[Path]) -> np.ndarray:
        inputs = processor(images=[read(file) for file in batch], return_tensors="pt")
        with torch.inference_mode():
            return model(**inputs).image_embeds.numpy()  # (b, L)

    return files.encoded(pictures, encode, data)
