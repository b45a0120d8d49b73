"""Stages 06 and later: one notebook a question; everything is derived from `results/<dataset>/`."""

from llmesr.evaluate.references import TITLES, UNTRAINED
from llmesr.models.backbones import BACKBONES
from llmesr.models.registry import METHODS

METHOD_NAMES = {**TITLES, **{name: method.title for name, method in METHODS.items()}}
BACKBONE_NAMES = {UNTRAINED: "–", **{name: backbone.title for name, backbone in BACKBONES.items()}}
