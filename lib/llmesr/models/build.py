"""Build a method over a backbone."""

import torch

from llmesr.errors import InputError
from llmesr.models.backbones.base import Backbone, ModelSettings
from llmesr.models.base import Method
from llmesr.models.inputs import ModelInputs
from llmesr.section import Section


def build(
    method: type[Method],
    settings: Section,
    backbone: type[Backbone],
    backbone_settings: Section,
    model: ModelSettings,
    max_length: int,
    inputs: ModelInputs,
    seed: int,
) -> Method:
    """Build a method over a backbone; the same seed, the same weights.

    Raises:
        InputError: the embeddings were reduced to another hidden size, or sizes do not fit together.
    """
    if inputs.hidden != model.hidden:
        raise InputError(
            f"the embeddings were reduced to {inputs.hidden} dimensions and 'model.hidden' is {model.hidden}: "
            "run `dvc repro embed`"
        )
    torch.manual_seed(seed)
    attend = method.attends_padding(settings)
    encoder = backbone(backbone_settings, model, max_length, attend_padding=attend)
    built = method(settings, inputs, encoder)
    built.initialise()
    return built
