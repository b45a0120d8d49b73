"""Models: a method (how items are seen and taught) over a backbone (how a sequence is read)."""

import torch
from torch import nn

from llmesr.embed import Embeddings
from llmesr.errors import InputError
from llmesr.models.backbones import BACKBONES
from llmesr.models.ingredients import Ingredients
from llmesr.models.methods import METHODS, Method
from llmesr.retrieve import Neighbours
from llmesr.settings import Settings


def build(
    settings: Settings, backbone: str, method: str, seed: int, embeddings: Embeddings, similar: Neighbours
) -> Method:
    """Build a model, Xavier-normal but for the item tables that come with a value; the same seed, the same weights.

    Raises:
        InputError: the embeddings were made for another hidden size, or heads do not divide it.
    """
    if embeddings.initial.shape[1] != settings.model.hidden:
        raise InputError(
            f"the embeddings were reduced to {embeddings.initial.shape[1]} dimensions and 'model.hidden' is "
            f"{settings.model.hidden}: run `dvc repro embed`"
        )
    chosen = getattr(settings.backbones, backbone)
    own = getattr(settings.methods, method)
    for key, heads in (
        (f"backbones.{backbone}.heads", getattr(chosen, "heads", 1)),
        (f"methods.{method}.heads", getattr(own, "heads", 1)),
        (f"methods.{method}.fusion_heads", getattr(own, "fusion_heads", 1)),
    ):
        if settings.model.hidden % heads:
            raise InputError(f"key '{key}' is {heads}, which does not divide 'model.hidden' ({settings.model.hidden})")
    torch.manual_seed(seed)
    encoder = BACKBONES[backbone](chosen, settings.model, attend_padding=getattr(own, "attend_padding", False))
    model = METHODS[method](own, Ingredients(encoder, embeddings, similar, settings.model.max_length))
    for module in model.modules():
        if not isinstance(module, nn.Embedding):  # a table has its first value from whoever made it
            for parameter in module.parameters(recurse=False):
                if parameter.dim() == 2:  # biases and norms keep PyTorch's values
                    nn.init.xavier_normal_(parameter)
    return model
