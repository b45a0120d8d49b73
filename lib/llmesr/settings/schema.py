"""What `params.yaml` may hold: a frozen section each, every key typed. The file's comments say what a key means."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from llmesr.errors import InputError
from llmesr.metrics import METRICS
from llmesr.paths import from_root
from llmesr.settings.backbones import BackboneName, Backbones, Model
from llmesr.settings.base import Edges, Positive, Section, Seed, Several, Share, Strings, distinct, rising
from llmesr.settings.beyond import Cold, Diversity, Recommend, Scale
from llmesr.settings.methods import MethodName, Methods


def _with_ten(cutoffs: tuple[int, ...]) -> tuple[int, ...]:
    if 10 not in cutoffs:
        raise ValueError("10 is missing, at which tables and summaries are made: add it")
    return cutoffs


class Data(Section):
    """Which dataset."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    source: Literal[
        "auto",
        "complete-journey",
        "movielens-100k",
        "amazon-2014",
        "amazon-2018",
        "amazon-2023",
        "yelp",
        "movielens",
        "inter-txt",
        "table",
    ]
    root: str


class Recipe(Section):
    """How one source becomes sequences."""

    repeats: Literal["first", "keep"]
    filter: Literal["k_core", "one_pass"]
    min_user: Positive
    min_item: Positive
    short_users: Literal["error", "train_only"]


class DepartmentRecipe(Recipe):
    """A recipe of a source that has departments."""

    departments: Annotated[Strings, Field(min_length=1)]


class Recipes(Section):
    """One recipe a source; those that are not used may be left out."""

    complete_journey: DepartmentRecipe | None = Field(None, alias="complete-journey")
    movielens_100k: Recipe | None = Field(None, alias="movielens-100k")
    amazon_2014: Recipe | None = Field(None, alias="amazon-2014")
    amazon_2018: Recipe | None = Field(None, alias="amazon-2018")
    amazon_2023: Recipe | None = Field(None, alias="amazon-2023")
    yelp: Recipe | None = None
    movielens: Recipe | None = None
    inter_txt: Recipe | None = Field(None, alias="inter-txt")
    table: Recipe | None = None


class Prepare(Section):
    """Stage 01: interactions, splits, long-tail groups."""

    recipes: Recipes
    split: Literal["leave_one_out", "temporal"]
    temporal_shares: Annotated[tuple[Share, Share], Field(strict=False), AfterValidator(rising)]
    negatives: Positive
    seed: Seed
    tail_quantile: Share
    tail_user_below: Positive | None
    tail_item_below: Positive | None
    length_edges: Edges
    popularity_edges: Edges


class LocalEncoder(Section):
    """A language model that `transformers` runs here."""

    kind: Literal["transformers"]
    model: str
    gguf_file: str | None
    pooling: Literal["mean", "last", "cls"]
    max_tokens: Positive
    dtype: Literal["auto", "float32", "bfloat16"]


class ApiEncoder(Section):
    """An OpenAI-compatible embeddings endpoint."""

    kind: Literal["api"]
    model: str
    base_url: str
    key_variable: str
    batch_size: Positive
    retries: Annotated[int, Field(ge=0)]
    timeout_seconds: Annotated[float, Field(gt=0)]


Encoder = Annotated[LocalEncoder | ApiEncoder, Field(discriminator="kind")]


class Embed(Section):
    """Stage 02: prompts, LLM, embeddings."""

    encoder: str
    encoders: dict[str, Encoder]
    normalize: bool
    batch_tokens: Positive
    item_template: str
    user_template: str
    attribute_characters: Positive
    history_items: Positive

    @model_validator(mode="after")
    def _encoder_exists(self) -> "Embed":
        if self.encoder not in self.encoders:
            raise ValueError(f"encoder '{self.encoder}' is not among {', '.join(self.encoders)}")
        return self


class Retrieve(Section):
    """Stage 03: similar users."""

    neighbours: Positive
    source: Literal["llm", "cooccurrence", "collaborative", "random"]
    measure: Literal["cosine", "inner_product", "l2"]
    exact_up_to: Positive


class Matrix(Section):
    """The runs: every combination of these."""

    backbones: Annotated[tuple[BackboneName, ...], *Several]
    methods: Annotated[tuple[MethodName, ...], *Several]
    seeds: Annotated[tuple[Seed, ...], *Several]

    def runs(self) -> list[tuple[str, str, int]]:
        """List (backbone, method, seed) in a fixed order."""
        return [(b, m, s) for b in self.backbones for m in self.methods for s in self.seeds]


class Train(Section):
    """Stage 04: one run = backbone × method × seed."""

    epochs: Positive
    patience: Positive
    batch_size: Positive
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    loss: Literal["own", "bce", "gbce", "sampled_softmax", "cross_entropy"]
    negatives: Positive
    calibration: Annotated[float, Field(ge=0, le=1)]
    propensity: Annotated[float, Field(ge=0, le=1)]
    adversary: Annotated[str, Field(min_length=1)]
    adversary_weight: Annotated[float, Field(gt=0)]
    redraw_negatives: bool
    device: Literal["auto", "cpu", "cuda"]
    threads: Positive


class Evaluate(Section):
    """Stage 05: the only reader of the test split."""

    top_k: Annotated[tuple[Positive, ...], *Several, AfterValidator(_with_ten)]
    references: Annotated[tuple[Literal["popularity", "item_knn"], ...], Field(strict=False), AfterValidator(distinct)]
    redraw_negatives: bool
    exclude_seen: bool


class Variant(Section):
    """One change of the settings whose effect is studied.

    Attributes:
        study: the question that it belongs to.
        method: whose settings are changed.
        label: what tables and figures call it.
        change: sections and keys of the settings, as they stand there, with other values.
    """

    study: Literal["ablation", "hyperparameters", "similarity", "language", "stronger", "debias"]
    method: MethodName
    label: str
    change: dict[str, Any]


class Study(Section):
    """Long studies: a method with something changed, on one backbone."""

    backbone: BackboneName
    seeds: Annotated[tuple[Seed, ...], *Several]
    variants: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")], Variant]


class Report(Section):
    """Stages 06 and later: tables and figures."""

    metric: str
    protocol: Literal["sampled100", "full"]


class Settings(Section):
    """All of `params.yaml`."""

    data: Data
    prepare: Prepare
    embed: Embed
    retrieve: Retrieve
    model: Model
    backbones: Backbones
    methods: Methods
    matrix: Matrix
    train: Train
    evaluate: Evaluate
    study: Study
    scale: Scale
    recommend: Recommend
    cold: Cold
    diversity: Diversity
    report: Report

    @model_validator(mode="after")
    def _metric_is_evaluated(self) -> "Settings":
        evaluated = [f"{name}@{k}" for name in METRICS for k in self.evaluate.top_k]
        if self.report.metric not in evaluated:
            raise ValueError(
                f"key 'report.metric' has the value '{self.report.metric}', which is not among "
                f"{', '.join(evaluated)}: choose one, or add its cut-off to 'evaluate.top_k'"
            )
        return self

    @property
    def source(self) -> str:
        """The loader to use: `auto` means the built-in of the dataset's name, else a table."""
        if self.data.source != "auto":
            return self.data.source
        known = get_args(Data.model_fields["source"].annotation)
        return self.data.name if self.data.name in known else "table"

    @property
    def recipe(self) -> Recipe:
        """The recipe of the dataset's source.

        Raises:
            InputError: `prepare.recipes` has none of that name.
        """
        found = getattr(self.prepare.recipes, self.source.replace("-", "_"))
        if found is None:
            raise InputError(f"key 'prepare.recipes.{self.source}' is missing: add a recipe for that source")
        return found

    @property
    def folder(self) -> Path:
        """The dataset's folder of raw files."""
        return from_root(self.data.root) / self.data.name


class Served(Section):
    """The sections that a saved recommender depends on: what else changes does not make it unreadable."""

    embed: Embed
    model: Model
    backbones: Backbones
    methods: Methods
    recommend: Recommend

    @classmethod
    def of(cls, settings: "Settings | Served") -> "Served":
        """Take them out of all settings."""
        return cls(**{name: getattr(settings, name) for name in cls.model_fields})
