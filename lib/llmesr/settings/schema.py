"""What `params.yaml` may hold: a frozen section each, every key typed. The file's comments say what a key means."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from llmesr.errors import InputError
from llmesr.metrics import METRICS
from llmesr.paths import from_root
from llmesr.settings.backbones import BackboneName, Backbones, Model
from llmesr.settings.base import Positive, Section, Seed, Several, distinct
from llmesr.settings.beyond import Cold, Diversity, Recommend, Scale
from llmesr.settings.embed import Embed
from llmesr.settings.methods import MethodName, Methods
from llmesr.settings.modalities import Modalities
from llmesr.settings.prepare import Data, Prepare, Recipe


def _with_ten(cutoffs: tuple[int, ...]) -> tuple[int, ...]:
    if 10 not in cutoffs:
        raise ValueError("10 is missing, at which tables and summaries are made: add it")
    return cutoffs


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
    precision: Literal["float32", "bfloat16"]
    threads: Positive


class Evaluate(Section):
    """Stage 05: the only reader of the test split."""

    top_k: Annotated[tuple[Positive, ...], *Several, AfterValidator(_with_ten)]
    references: Annotated[tuple[Literal["popularity", "item_knn"], ...], Field(strict=False), AfterValidator(distinct)]
    redraw_negatives: bool
    exclude_seen: bool


StudyName = Literal["ablation", "hyperparameters", "similarity", "language", "stronger", "debias", "ugc", "fusion"]


class Variant(Section):
    """One change of the settings whose effect is studied.

    Attributes:
        study: the question that it belongs to.
        method: whose settings are changed.
        label: what tables and figures call it.
        change: sections and keys of the settings, as they stand there, with other values.
    """

    study: StudyName
    method: MethodName
    label: str
    change: dict[str, Any]


class Study(Section):
    """Long studies: a method with something changed, on one backbone."""

    questions: Annotated[tuple[StudyName, ...], *Several]
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
    modalities: Modalities
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

    def trained_by_matrix(self, variant: str) -> bool:
        """Whether a variant changes nothing about a method of the matrix, whose runs it then stands for."""
        about = self.study.variants[variant]
        return not about.change and about.method in self.matrix.methods

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
