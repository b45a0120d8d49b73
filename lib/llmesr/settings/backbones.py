"""The sections of `params.yaml` that say what a model is like: its sizes, and one section a backbone."""

from typing import Annotated, Literal

from pydantic import Field

from llmesr.settings.base import Positive, Section, Share

BackboneName = Literal["gru4rec", "bert4rec", "sasrec"]


class Model(Section):
    """Sizes that every backbone shares."""

    hidden: Positive
    dropout: Annotated[float, Field(ge=0, lt=1)]
    max_length: Annotated[int, Field(ge=2)]


class Gru4Rec(Section):
    """GRU4Rec's own settings."""

    layers: Positive
    objective: Literal["last_item", "every_position"]


class SasRec(Section):
    """SASRec's own settings."""

    blocks: Positive
    heads: Positive
    causal: bool


class Bert4Rec(Section):
    """BERT4Rec's own settings."""

    blocks: Positive
    heads: Positive
    mask_share: Share


class Backbones(Section):
    """One section a backbone."""

    gru4rec: Gru4Rec
    sasrec: SasRec
    bert4rec: Bert4Rec
