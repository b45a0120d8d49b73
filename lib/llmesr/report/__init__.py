"""Stages 06 and later: one notebook a question; everything is derived from `results/<dataset>/`."""

from llmesr.evaluate.references import TITLES, UNTRAINED
from llmesr.models.backbones import BACKBONES
from llmesr.models.registry import METHODS

METHOD_NAMES = {**TITLES, **{name: method.title for name, method in METHODS.items()}}
BACKBONE_NAMES = {UNTRAINED: "–", **{name: backbone.title for name, backbone in BACKBONES.items()}}
PROTOCOLS = {"sampled": "sampled ranking", "full": "full ranking"}
DATASET_NAMES = {
    "complete-journey": "Complete Journey",
    "movielens-100k": "MovieLens-100K",
    "office-products": "Amazon Office Products",
    "ml-latest-small": "MovieLens (ml-latest-small)",
    "tiny": "Tiny shop",
}


def dataset_name(name: str) -> str:
    """Say what tables and figures call a dataset."""
    return DATASET_NAMES.get(name, name)
