"""Sections of what goes beyond the paper: scale, recommenders to use, new items, lists."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from llmesr.settings.backbones import BackboneName
from llmesr.settings.base import Positive, Section, Seed, Several, Share, distinct
from llmesr.settings.methods import MethodName

Count = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0, le=1)]
Prior = Literal["own", "neighbours", "zero"]


class Scale(Section):
    """How time and memory grow, on generated data: sizes are users, items, and interactions a user."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    base: Annotated[tuple[Positive, Positive, Positive], Field(strict=False)]
    factors: Annotated[tuple[Positive, ...], *Several]
    largest: Annotated[tuple[Positive, Positive, Positive], Field(strict=False)]
    width: Positive
    batch_size: Positive


class Recommend(Section):
    """Recommenders that are saved to be used."""

    backbone: BackboneName
    methods: Annotated[tuple[MethodName, ...], *Several]
    seed: Seed
    k: Positive
    prior: Prior
    prior_neighbours: Positive
    new_count: Count


class Cold(Section):
    """Items that training never saw."""

    share: Share
    seed: Seed
    backbone: BackboneName
    methods: Annotated[tuple[MethodName, ...], *Several]
    seeds: Annotated[tuple[Seed, ...], *Several]
    priors: Annotated[tuple[Prior, ...], *Several]
    new_counts: Annotated[tuple[Count, ...], *Several]


class Diversity(Section):
    """What lists hold beside hits, and re-ranking."""

    backbone: BackboneName
    methods: Annotated[tuple[MethodName, ...], *Several]
    seeds: Annotated[tuple[Seed, ...], *Several]
    category: str | None
    separator: str | None
    k: Positive
    candidates: Positive
    reranked: Annotated[tuple[MethodName, ...], *Several]
    trades: Annotated[tuple[Weight, ...], *Several]
    attributes: Annotated[tuple[str, ...], Field(strict=False), AfterValidator(distinct)]
    rounds: Positive
    epsilon: Share
    ucb: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _enough_candidates(self) -> "Diversity":
        if self.candidates < self.k:
            raise ValueError(f"{self.candidates} candidates are fewer than the {self.k} items of a list: raise them")
        return self
