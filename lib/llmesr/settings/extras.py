"""Sections of what goes beyond the paper: new items, lists, further modalities, scale."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llmesr.section import Count, Fraction, Positive, Rate, Section, Seed, Several, Share

Prior = Literal["own", "neighbours", "zero"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Sizes = Annotated[tuple[Positive, Positive, Positive], Field(strict=False)]


class RecommendSettings(Section):
    """Recommenders that are saved to be used."""

    backbone: str = "sasrec"
    """The backbone, one of the matrix."""
    methods: Annotated[tuple[str, ...], *Several] = ("dualmatch", "llmesr", "llminit", "base")
    """Methods of the matrix; the first one lists everybody's items."""
    seed: Seed = 42
    """One of the matrix."""
    k: Positive = 10
    """Items a list."""
    prior: Prior = "own"
    """A new item's place in a view that text does not give: the mean of the nearest by text (`neighbours`), `zero`,
    or `own` (zero for DualMatch's ID, else neighbours)."""
    prior_neighbours: Positive = 10
    """How many neighbours."""
    new_count: Count = 0
    """The training count that a new item is taken for where popularity counts."""


class ColdSettings(Section):
    """Items that training never saw."""

    share: Share = 0.2
    """Share of the items, chosen at random, that are held out; placements are chosen by half of them."""
    seed: Seed = 42
    """Of which ones."""
    backbone: str = "sasrec"
    """The backbone."""
    methods: Annotated[tuple[str, ...], *Several] = ("base", "llminit", "llmesr", "dualmatch")
    """The methods."""
    seeds: Annotated[tuple[Seed, ...], *Several] = (42, 43, 44)
    """Of the runs."""
    priors: Annotated[tuple[Prior, ...], *Several] = ("neighbours", "zero")
    """What `recommend.prior` may be, to choose from."""
    new_counts: Annotated[tuple[Count, ...], *Several] = (0, 3, 10)
    """What `recommend.new_count` may be, to choose from, for methods that ask for popularity."""


class DiversitySettings(Section):
    """What lists hold beside hits, and re-ranking."""

    backbone: str = "sasrec"
    """The backbone, one of the matrix."""
    methods: Annotated[tuple[str, ...], *Several] = ("base", "llminit", "llmesr", "dualmatch")
    """Methods of the matrix."""
    seeds: Annotated[tuple[Seed, ...], *Several] = (42, 43, 44)
    """Of the matrix."""
    k: Positive = 10
    """Items a list."""
    candidates: Positive = 100
    """A user's best items, among which re-ranking chooses."""
    reranked: Annotated[tuple[str, ...], *Several] = ("llmesr", "dualmatch")
    """Methods whose lists are re-ranked as well."""
    tradeoffs: Annotated[tuple[Fraction, ...], *Several] = (0.95, 0.9, 0.8, 0.7, 0.5, 0.3)
    """λ, weights of relevance; 1 changes nothing."""
    rounds: Positive = 100000
    """Visits in the simulation of exploration."""
    epsilon: Share = 0.1
    """Share of visits in which ε-greedy shows any candidate."""
    ucb: Rate = 0.03
    """Weight of UCB's bonus."""

    @model_validator(mode="after")
    def _enough_candidates(self) -> "DiversitySettings":
        if self.candidates < self.k:
            raise ValueError(f"{self.candidates} candidates are fewer than the {self.k} items of a list: raise them")
        return self


class WordsSource(Section):
    """An item is what users wrote about it, encoded as prompts are; items that nobody wrote about lack it."""

    kind: Literal["words"]
    """The view's kind."""


class InteractionGraphSource(Section):
    """A graph of users, items and, if wanted, users' words, embedded by LightGCN."""

    kind: Literal["interaction_graph"]
    """The view's kind."""
    words: bool = False
    """Users' words are nodes, too."""
    dimensions: Positive = 64
    """Of the embeddings."""
    layers: Positive = 2
    """LightGCN's layers."""
    epochs: Positive = 300
    """Passes over the graph."""
    learning_rate: Rate = 0.01
    """Adam's."""


class KnowledgeSource(Section):
    """A knowledge graph of triples, embedded by one of PyTorch Geometric's models."""

    kind: Literal["knowledge"]
    """The view's kind."""
    titles: str | None = None
    """For MovieLens-100K, movies.csv of a later release in the same folder, as which its links number films."""
    shuffled: bool = False
    """Items are taken for each other, as a control."""
    model: Literal["transe", "distmult", "complex", "rotate"] = "distmult"
    """The embedding model."""
    dimensions: Positive = 64
    """Of the embeddings."""
    epochs: Positive = 30
    """Passes over the triples."""
    batch_size: Positive = 1024
    """Triples a step."""
    learning_rate: Rate = 0.02
    """Adam's."""


class ImageSource(Section):
    """Pictures `<item_id>.jpg` or `.png`, encoded by CLIP's vision tower."""

    kind: Literal["image"]
    """The view's kind."""
    folder: str = "images"
    """Below the dataset's folder."""
    model: str = "openai/clip-vit-base-patch32"
    """A folder from the project root, or a model id."""


class AudioSource(Section):
    """Sounds `<item_id>.wav` or `.flac`, encoded by an audio spectrogram transformer."""

    kind: Literal["audio"]
    """The view's kind."""
    folder: str = "audio"
    """Below the dataset's folder."""
    model: str = "MIT/ast-finetuned-audioset-10-10-0.4593"
    """A folder from the project root, or a model id."""


Source = Annotated[
    WordsSource | InteractionGraphSource | KnowledgeSource | ImageSource | AudioSource, Field(discriminator="kind")
]

SOURCES: dict[str, Source] = {
    "words": WordsSource(kind="words"),
    "interaction_graph": InteractionGraphSource(kind="interaction_graph"),
    "interaction_graph_words": InteractionGraphSource(kind="interaction_graph", words=True),
    "knowledge": KnowledgeSource(kind="knowledge"),
    "knowledge_shuffled": KnowledgeSource(kind="knowledge", shuffled=True),
    "image": ImageSource(kind="image"),
    "audio": AudioSource(kind="audio"),
}


class ModalitiesSettings(Section):
    """Views of items beside the text of their prompts; `datasets.<name>.modalities` names those that are made."""

    sources: dict[Name, Source] = SOURCES
    """How each view is made."""
    missing: Annotated[tuple[Fraction, ...], *Several] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """Shares of items from which a view is hidden, to see what is left."""
    seed: Seed = 42
    """Of the graphs' embeddings."""

    @model_validator(mode="after")
    def _text_is_taken(self) -> "ModalitiesSettings":
        if "text" in self.sources:
            raise ValueError("'text' is the view that stage 02 makes: give the source another name")
        return self


class ScaleSettings(Section):
    """How time and memory grow, on synthetic data: sizes are users, items, and interactions a user."""

    name: str = "generated"
    """What the synthetic data is called; its table goes to results/<name>/."""
    base: Sizes = (20000, 20000, 10)
    """Where each of the three begins."""
    factors: Annotated[tuple[Positive, ...], *Several] = (1, 2, 4, 8)
    """By which each of the three grows alone."""
    largest: Sizes = (1000000, 1000000, 10)
    """Measured once more."""
    width: Positive = 384
    """L of the synthetic item and user embeddings."""
    batch_size: Positive = 1024
    """Sequences a step."""
