"""Sections of the raw data and of stage 01."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from llmesr.settings.base import Edges, Positive, Section, Seed, Share, Strings, distinct, rising


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
    short_users: Literal["error", "train_only", "drop"]


class WrittenRecipe(Recipe):
    """A recipe of a source that may have texts by users."""

    texts: bool


class DepartmentRecipe(Recipe):
    """A recipe of a source that has departments."""

    departments: Annotated[Strings, Field(min_length=1)]


class Recipes(Section):
    """One recipe a source; those that are not used may be left out."""

    complete_journey: DepartmentRecipe | None = Field(None, alias="complete-journey")
    movielens_100k: Recipe | None = Field(None, alias="movielens-100k")
    amazon_2014: WrittenRecipe | None = Field(None, alias="amazon-2014")
    amazon_2018: WrittenRecipe | None = Field(None, alias="amazon-2018")
    amazon_2023: WrittenRecipe | None = Field(None, alias="amazon-2023")
    yelp: WrittenRecipe | None = None
    movielens: WrittenRecipe | None = None
    inter_txt: Recipe | None = Field(None, alias="inter-txt")
    table: WrittenRecipe | None = None


class Ugc(Section):
    """How what users wrote is cleaned."""

    least_characters: Positive
    most_characters: Positive
    languages: Annotated[Strings, AfterValidator(distinct)]
    near_duplicate: Share


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
    ugc: Ugc
