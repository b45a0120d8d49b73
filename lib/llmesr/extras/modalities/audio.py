"""Sounds of items, `<item_id>.wav` or `.flac`, encoded by an audio spectrogram transformer (Gong et al., 2021)."""

from pathlib import Path

import numpy as np
import torch
from transformers import ASTModel, AutoFeatureExtractor

from llmesr.errors import InputError
from llmesr.extras.modalities import files
from llmesr.models.inputs import ItemView
from llmesr.optional import optional
from llmesr.paths import shown
from llmesr.prepare.dataset import Dataset
from llmesr.settings import AudioSource, Settings

with optional("modalities"):
    import soundfile

ENDINGS = (".wav", ".flac", ".ogg", ".mp3")


def read(file: Path, rate: int) -> np.ndarray:
    """Read a sound as one channel: (samples,).

    Raises:
        InputError: it cannot be read, is empty, or has another sample rate than the model reads.
    """
    try:
        samples, own = soundfile.read(file, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise InputError(f"{shown(file)} cannot be read as a sound ({error}): replace or delete it") from None
    if own != rate:
        raise InputError(f"{shown(file)} has {own} samples a second, and the model reads {rate}: resample it")
    if not len(samples):
        raise InputError(f"{shown(file)} is empty: replace or delete it")
    return samples.mean(1)


def make(settings: Settings, data: Dataset, source: AudioSource) -> ItemView:
    """Encode the sounds: (V + 1, L).

    Raises:
        InputError: the folder, a sound or the model is missing or at fault.
    """
    sounds = files.of_items(settings.folder / source.folder, ENDINGS, data)
    extractor, model = files.load(source.model, AutoFeatureExtractor, ASTModel, "an AST")

    def encode(batch: list[Path]) -> np.ndarray:
        rate = extractor.sampling_rate
        inputs = extractor([read(file, rate) for file in batch], sampling_rate=rate, return_tensors="pt")
        with torch.inference_mode():
            return model(**inputs).pooler_output.numpy()  # (b, L)

    return files.encoded(sounds, encode, data)
