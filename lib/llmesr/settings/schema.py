"""All of `params.yaml`: a frozen section each, every key with a type, a default and a description."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, create_model, model_validator

from llmesr.metrics import METRICS
from llmesr.models.backbones import BACKBONES
from llmesr.models.backbones.base import ModelSettings
from llmesr.models.registry import METHODS
from llmesr.paths import from_root
from llmesr.section import FolderName, Positive, Section, Seed, Several, Strings, distinct
from llmesr.settings.data import DatasetSettings, PrepareSettings, UgcSettings
from llmesr.settings.embed import EmbedSettings
from llmesr.settings.extras import ColdSettings, DiversitySettings, ModalitiesSettings, RecommendSettings, ScaleSettings
from llmesr.train.settings import TrainSettings


def _known(kinds: dict[str, type], key: str) -> AfterValidator:
    def check(names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in names if name not in kinds]:
            raise ValueError(f"'{unknown[0]}' is not among '{key}': {', '.join(kinds)}")
        return names

    return AfterValidator(check)


def _with_ten(cutoffs: tuple[int, ...]) -> tuple[int, ...]:
    if 10 not in cutoffs:
        raise ValueError("10 is missing, at which tables and summaries are made: add it")
    return cutoffs


BackboneNames = Annotated[tuple[str, ...], *Several, _known(BACKBONES, "backbones")]
MethodNames = Annotated[tuple[str, ...], *Several, _known(METHODS, "methods")]


def _section_of(kinds: dict[str, type], name: str, description: str) -> type[Section]:
    """Make a section with one key for each backbone or method, from their own settings."""
    fields = {key: (kind.Settings, Field(kind.Settings(), description=kind.title)) for key, kind in kinds.items()}
    return create_model(name, __base__=Section, __module__=__name__, __doc__=description, **fields)


Backbones = _section_of(BACKBONES, "Backbones", "One section a backbone.")
Methods = _section_of(METHODS, "Methods", "One section a method.")


class RetrieveSettings(Section):
    """Stage 03: similar users."""

    neighbours: Positive = 10
    """N, the similar users whose mean is the mediator (paper: 10)."""
    source: Literal["llm", "cooccurrence", "collaborative", "random"] = "llm"
    """By what users are similar: LLM embeddings (paper), Jaccard of training items, states of the trained backbone
    (experiments only), or nothing."""
    measure: Literal["cosine", "inner_product", "l2"] = "cosine"
    """Of vectors (paper: cosine)."""
    exact_up_to: Positive = 50000
    """More users than this are searched approximately (faiss IVF)."""


class Matrix(Section):
    """The runs of the main tables: every combination of these."""

    backbones: BackboneNames = ("gru4rec", "bert4rec", "sasrec")
    """Names under `backbones`."""
    methods: MethodNames = ("base", "cities", "melt", "rlmrec_con", "rlmrec_gen", "llminit", "llmesr", "dualmatch")
    """Names under `methods`."""
    seeds: Annotated[tuple[Seed, ...], *Several] = (42, 43, 44)
    """Of the runs (paper: 42, 43, 44)."""

    def runs(self) -> list[tuple[str, str, int]]:
        """List (backbone, method, seed) in a fixed order."""
        return [(b, m, s) for b in self.backbones for m in self.methods for s in self.seeds]


class EvaluateSettings(Section):
    """Stage 05: the only reader of the test split."""

    top_k: Annotated[tuple[Positive, ...], *Several, AfterValidator(_with_ten)] = (5, 10, 20)
    """Cut-offs of HR and NDCG, 10 among them (paper: 10)."""
    references: Annotated[
        tuple[Literal["popularity", "item_knn"], ...], Field(strict=False), AfterValidator(distinct)
    ] = ("popularity", "item_knn")
    """Rows without training, as sanity checks."""
    redraw_negatives: bool = False
    """Each run is ranked against its own negatives (authors' code: true)."""
    exclude_seen: bool = True
    """The full ranking leaves out items that the user already had."""


class ExperimentsSettings(Section):
    """The studies of `experiments.yaml`: on which backbone, with which seeds."""

    backbone: str = "sasrec"
    """The backbone, one of the matrix (paper: SASRec)."""
    seeds: Annotated[tuple[Seed, ...], *Several] = (42, 43, 44)
    """Of the matrix."""
    skip: Strings = ()
    """Names of variants that are left out, of any study."""


class ReportSettings(Section):
    """Stages 06 and later: tables and figures."""

    metric: str = "NDCG@10"
    """HR@k or NDCG@k, with k in `evaluate.top_k`: what the figures show."""
    protocol: Literal["sampled", "full"] = "sampled"
    """Ranking among sampled negatives (paper), or among all items."""


class Settings(Section):
    """All settings."""

    dataset: FolderName = "complete-journey"
    """The dataset: one of `datasets`, or the name of a folder of your own tables below `data/`."""
    datasets: dict[FolderName, DatasetSettings] = Field(default_factory=dict)
    """What differs between datasets; one that is not named has the defaults."""
    prepare: PrepareSettings = PrepareSettings()
    """Stage 01: splits, long-tail groups, fixed negatives."""
    embed: EmbedSettings = EmbedSettings()
    """Stage 02: prompts, LLM, embeddings."""
    retrieve: RetrieveSettings = RetrieveSettings()
    """Stage 03: similar users."""
    model: ModelSettings = ModelSettings()
    """Sizes that every backbone shares."""
    backbones: Backbones = Backbones()
    """One section a backbone."""
    methods: Methods = Methods()
    """One section a method."""
    matrix: Matrix = Matrix()
    """The runs of the main tables."""
    train: TrainSettings = TrainSettings()
    """Stage 04: how a run is trained."""
    evaluate: EvaluateSettings = EvaluateSettings()
    """Stage 05: the only reader of the test split."""
    experiments: ExperimentsSettings = ExperimentsSettings()
    """The studies of `experiments.yaml`."""
    report: ReportSettings = ReportSettings()
    """Tables and figures."""
    recommend: RecommendSettings = RecommendSettings()
    """Recommenders that are saved to be used."""
    cold: ColdSettings = ColdSettings()
    """Items that training never saw."""
    diversity: DiversitySettings = DiversitySettings()
    """What lists hold beside hits."""
    modalities: ModalitiesSettings = ModalitiesSettings()
    """Views of items beside their text."""
    ugc: UgcSettings = UgcSettings()
    """What users wrote."""
    scale: ScaleSettings = ScaleSettings()
    """How time and memory grow."""

    @model_validator(mode="after")
    def _names_exist(self) -> "Settings":
        evaluated = [f"{name}@{k}" for name in METRICS for k in self.evaluate.top_k]
        if self.report.metric not in evaluated:
            raise ValueError(
                f"key 'report.metric' has the value '{self.report.metric}', which is not among "
                f"{', '.join(evaluated)}: choose one, or add its cut-off to 'evaluate.top_k'"
            )
        for section in ("experiments", "recommend", "cold", "diversity"):
            backbone = getattr(self, section).backbone
            if backbone not in BACKBONES:
                raise ValueError(f"key '{section}.backbone': '{backbone}' is not among {', '.join(BACKBONES)}")
            for method in getattr(getattr(self, section), "methods", ()):
                if method not in METHODS:
                    raise ValueError(f"key '{section}.methods': '{method}' is not among {', '.join(METHODS)}")
        if self.evaluate.redraw_negatives and self.prepare.split == "temporal":
            raise ValueError(
                "key 'evaluate.redraw_negatives' is true, but with 'prepare.split: temporal' a new negative may be an "
                "item that the user had after the test: set it to false"
            )
        for view in self.data.modalities:
            if view not in self.modalities.sources:
                raise ValueError(
                    f"key 'datasets.{self.dataset}.modalities': '{view}' is not among the sources "
                    f"{', '.join(self.modalities.sources)}"
                )
        return self

    @property
    def data(self) -> DatasetSettings:
        """The section of the dataset that is chosen."""
        return self.datasets.get(self.dataset, DatasetSettings())

    @property
    def folder(self) -> Path:
        """The dataset's folder of raw files."""
        return from_root(self.data.folder or f"data/{self.dataset}")

    def changed(self, changes: dict[str, Any]) -> "Settings":
        """Copy settings with some dotted keys changed; `data.…` means the section of the chosen dataset.

        Raises:
            pydantic.ValidationError: a key is not there, or a value is not allowed.
        """
        raw = self.model_dump()
        for key, value in changes.items():
            path = key.split(".")
            path = ["datasets", self.dataset, *path[1:]] if path[0] == "data" else path
            node = raw
            for part in path[:-1]:
                node = node.setdefault(part, {})
                if not isinstance(node, dict):  # a key below a value: pydantic then names it
                    raise KeyError(key)
            node[path[-1]] = value
        return Settings.model_validate(raw)
