"""The methods' sections of `params.yaml`, one each."""

from typing import Annotated, Literal

from pydantic import Field

from llmesr.settings.base import Positive, Section, Several, Share

MethodName = Literal[
    "none",
    "cities",
    "melt",
    "rlmrec_con",
    "rlmrec_gen",
    "llminit",
    "llmesr",
    "whitenrec",
    "unisrec",
    "alphafuse",
    "dualmatch",
    "multiview",
]
Weight = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]


class Plain(Section):
    """A method without settings."""


class Cities(Section):
    """CITIES' own settings."""

    head_above: Positive
    window: Positive
    contexts: Positive
    layers: Positive
    heads: Positive
    dropout: Annotated[float, Field(ge=0, lt=1)]
    batch_size: Positive
    learning_rate: Rate
    warm_up: Positive
    validation_share: Share
    epochs: Positive
    patience: Positive


class Melt(Section):
    """MELT's own settings."""

    lambda_user: Weight
    lambda_item: Weight
    quantile: Share
    curriculum_epochs: Positive


class RlmRecCon(Section):
    """RLMRec-Con's own settings."""

    weight: Weight
    temperature: Rate


class RlmRecGen(Section):
    """RLMRec-Gen's own settings."""

    weight: Weight
    temperature: Rate
    mask_share: Share


class LlmEsr(Section):
    """LLM-ESR's own settings."""

    alpha: Weight
    views: Literal["both", "semantic", "collaborative"]
    shared_encoder: bool
    initial: Literal["pca", "random"]
    adapter_layers: Annotated[int, Field(ge=1, le=2)]
    fusion: bool
    fusion_heads: Positive
    fusion_causal: bool
    fusion_residual: bool
    attend_padding: bool
    mediator_refresh: Literal["epoch", "step"]


class WhitenRec(Section):
    """WhitenRec's own settings."""

    groups: Positive


class UniSRec(Section):
    """UniSRec's own settings."""

    experts: Positive
    dropout: Annotated[float, Field(ge=0, lt=1)]
    temperature: Rate
    ids: bool


class AlphaFuse(Section):
    """AlphaFuse's own settings."""

    null_space: Positive


class DualMatch(Section):
    """DualMatch's own settings."""

    neighbours: Positive
    text: bool
    together: bool
    popularity: bool
    whitening: Annotated[float, Field(ge=0, le=1)]
    exact_up_to: Positive


class MultiView(Section):
    """Own settings of a set of views."""

    views: Annotated[tuple[str, ...], *Several]
    fusion: Literal["concat", "gated", "attention", "bilinear"]
    heads: Positive
    rank: Positive
    missing: Literal["mask", "token"]
    modality_dropout: Annotated[float, Field(ge=0, lt=1)]


class Methods(Section):
    """One section a method."""

    none: Plain
    cities: Cities
    melt: Melt
    rlmrec_con: RlmRecCon
    rlmrec_gen: RlmRecGen
    llminit: Plain
    llmesr: LlmEsr
    whitenrec: WhitenRec
    unisrec: UniSRec
    alphafuse: AlphaFuse
    dualmatch: DualMatch
    multiview: MultiView
