"""`params.yaml`, read once into typed and frozen settings.

Every error names the key, the value and, for an unknown key, the nearest known one.
"""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llmesr.errors import InputError
from llmesr.paths import from_root, shown

Strings = Annotated[tuple[str, ...], Field(strict=False)]
Integers = Annotated[tuple[int, ...], Field(strict=False)]
Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]

BackboneName = Literal["gru4rec", "bert4rec", "sasrec"]
MethodName = Literal["none", "llminit", "llmesr"]


class Section(BaseModel):
    """A frozen part of the settings that refuses unknown keys and wrong types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Data(Section):
    """Which dataset."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    source: Literal["auto", "complete-journey", "movielens-100k", "table"]
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
    table: Recipe | None = None


class Prepare(Section):
    """Stage 01: interactions, splits, long-tail groups."""

    recipes: Recipes
    negatives: Positive
    seed: int
    tail_quantile: Share
    tail_user_below: Positive | None
    tail_item_below: Positive | None
    length_edges: Annotated[tuple[int, int, int, int], Field(strict=False)]
    popularity_edges: Annotated[tuple[int, int, int, int], Field(strict=False)]


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
    measure: Literal["cosine", "inner_product", "l2"]


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


class Plain(Section):
    """A method without settings."""


class LlmEsr(Section):
    """LLM-ESR's own settings."""

    alpha: Annotated[float, Field(ge=0)]
    adapter_layers: Annotated[int, Field(ge=1, le=2)]
    fusion_heads: Positive
    fusion_causal: bool
    fusion_residual: bool
    mediator_refresh: Literal["epoch", "step"]


class Methods(Section):
    """One section a method."""

    none: Plain
    llminit: Plain
    llmesr: LlmEsr


class Matrix(Section):
    """The runs: every combination of these."""

    backbones: Annotated[tuple[BackboneName, ...], Field(strict=False, min_length=1)]
    methods: Annotated[tuple[MethodName, ...], Field(strict=False, min_length=1)]
    seeds: Annotated[Integers, Field(min_length=1)]

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
    negatives: Positive
    redraw_negatives: bool
    device: Literal["auto", "cpu", "cuda"]


class Evaluate(Section):
    """Stage 05: the only reader of the test split."""

    top_k: Annotated[Integers, Field(min_length=1)]
    redraw_negatives: bool
    exclude_seen: bool


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
    report: Report

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


def load(file: str | Path = "params.yaml") -> Settings:
    """Read and check a settings file.

    Args:
        file: path from the project root, or absolute.

    Raises:
        InputError: the file is missing, is no YAML, or a key is unknown, missing or of a wrong type.
    """
    path = from_root(file)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Settings.model_validate(raw)
    except FileNotFoundError:
        raise InputError(f"{shown(path)} does not exist: name a settings file") from None
    except yaml.YAMLError as error:
        raise InputError(f"{shown(path)} is no valid YAML: {error}") from None
    except ValidationError as error:
        lines = [_explain(problem, raw) for problem in error.errors()]
        raise InputError(f"{shown(path)}: " + "; ".join(lines)) from None


def _explain(problem: dict[str, Any], raw: dict[str, Any]) -> str:
    """Say one pydantic problem as key, value and what to do."""
    # the discriminator of a union shows up in the path but is no key of the file
    where = [str(part) for part in problem["loc"] if str(part) not in ("transformers", "api")]
    key = ".".join(where)
    if problem["type"] == "missing":
        return f"key '{key}' is missing: add it"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, _known_keys(Settings), n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else "remove it"
        return f"unknown key '{key}' (value {problem['input']!r}): {hint}"
    if problem["type"] == "value_error":  # of a whole section: its values would only bury the message
        return f"section '{key}': {problem['msg'].removeprefix('Value error, ')}"
    return f"key '{key}' has the value {problem['input']!r}: {problem['msg']}"


def _known_keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in section.model_fields.items():
        key = prefix + (field.alias or name)
        keys.append(key)
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                keys += _known_keys(kind, f"{key}.")
    return keys
