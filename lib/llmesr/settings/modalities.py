"""Sections of further modalities: what users wrote, graphs, images, sound."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from llmesr.settings.base import Positive, Section, Seed, Several, distinct

Rate = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class WordsView(Section):
    """An item is what users wrote about it, encoded as prompts are."""

    kind: Literal["words"]


class CommunityView(Section):
    """A graph of users, items and, if wanted, users' words, embedded by LightGCN."""

    kind: Literal["community"]
    words: bool
    dimensions: Positive
    layers: Positive
    epochs: Positive
    learning_rate: Rate


class KnowledgeView(Section):
    """A knowledge graph of triples, embedded by one of PyTorch Geometric's models."""

    kind: Literal["knowledge"]
    titles: str | None
    shuffled: bool
    model: Literal["transe", "distmult", "complex", "rotate"]
    dimensions: Positive
    epochs: Positive
    batch_size: Positive
    learning_rate: Rate


class ImageView(Section):
    """Pictures, encoded by CLIP's vision tower."""

    kind: Literal["image"]
    folder: str
    model: str


class AudioView(Section):
    """Sounds, encoded by an audio spectrogram transformer."""

    kind: Literal["audio"]
    folder: str
    model: str


Source = Annotated[
    WordsView | CommunityView | KnowledgeView | ImageView | AudioView,
    Field(discriminator="kind"),
]


class Modalities(Section):
    """Stage 21: views of items beside the text of their prompts."""

    make: Annotated[tuple[str, ...], Field(strict=False), AfterValidator(distinct)]
    missing: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], *Several]
    seed: Seed
    sources: dict[Name, Source]

    @model_validator(mode="after")
    def _sources_exist(self) -> "Modalities":
        if "text" in self.sources:
            raise ValueError("'text' is the view that stage 02 makes: give the source another name")
        if unknown := set(self.make) - set(self.sources):
            raise ValueError(f"'{min(unknown)}' of 'make' is not among the sources {', '.join(self.sources)}")
        return self
