"""Sections of the data: what differs between datasets, how raw files become splits, what users wrote."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from llmesr.section import Edges, Positive, Section, Seed, Share, Strings


def _rising(shares: tuple[float, float]) -> tuple[float, float]:
    """Refuse a second share that is not above the first."""
    if shares[0] >= shares[1]:
        raise ValueError("the second share must be above the first: correct them")
    return shares


class DatasetSettings(Section):
    """What differs between datasets, and nowhere else. The defaults are those of your own tables."""

    format: Literal[
        "table",
        "complete-journey",
        "movielens-100k",
        "movielens",
        "amazon-2014",
        "amazon-2018",
        "amazon-2023",
        "yelp",
        "inter-txt",
    ] = "table"
    """What the raw files are (the docs list each format's files)."""
    folder: str | None = None
    """Where they lie, from the project root or absolute; null: `data/<name>`."""
    columns: dict[Literal["user_id", "item_id", "timestamp", "title", "rating", "text"], str | Positive] = Field(
        default_factory=dict
    )
    """Which column of your own tables holds what, if it has another name: `user_id: reviewerID`. Numbers count the
    columns of a table without a header, from 1."""
    separator: str | None = None
    """Between the fields of your own tables; null: it is recognised."""
    encoding: str | None = None
    """Of your own tables, as Python calls it, such as latin-1; null: it is recognised."""
    time_format: str | None = None
    """How times are written, as Python's `strptime` reads them, such as "%d/%m/%Y %H:%M"; null: it is recognised."""
    departments: Strings = ()
    """Departments of Complete Journey that are kept."""
    repeats: Literal["first", "keep"] = "keep"
    """Keep first interactions of a user with an item only, or all (the authors' code drops no repeat)."""
    ties: Literal["file", "random"] = "file"
    """Interactions of a user at the same time keep the order of the file, or get a random one (with a fixed seed), for
    files that list them by item id."""
    filter: Literal["k_core", "one_pass"] = "k_core"
    """Drop rare users and items to convergence (paper: Fashion), or counted once (paper: Yelp, Beauty)."""
    min_user: Positive = 3
    """Least interactions of a user (paper: 3 or 5); 3 is the least that leave-one-out can split."""
    min_item: Positive = 1
    """Least interactions of an item (paper: 2, 3 or 5)."""
    short_users: Literal["error", "train_only", "drop"] = "error"
    """Users with fewer than 3 interactions left, as `one_pass` can leave some (authors' code: drop)."""
    tail_user_below: Positive | None = None
    """A tail user has fewer input items (paper: Yelp 12, Fashion 3, Beauty 9); null: `prepare.tail_quantile`."""
    tail_item_below: Positive | None = None
    """A tail item has fewer training interactions (paper: Yelp 13, Fashion 4, Beauty 4); null: the quantile."""
    tail_item_counts: Literal["training", "all"] = "training"
    """Which interactions make an item popular: those of training, or all, the held-out ones too (authors' code)."""
    max_length: Annotated[int, Field(ge=2)] = 200
    """T, the latest items of a history that are read (paper: 200)."""
    texts: bool = True
    """Read what users wrote (reviews, tags), if the format has it."""
    category: str | None = None
    """The items' column of categories, for maps and diversity; null: nothing is measured by category."""
    category_separator: str | None = None
    """Between several categories of one item; null: a value is one category."""
    user_attributes: Strings = ()
    """What is known of users, for the audit of lesson 20; no model sees it."""
    sensitive_attribute: str | None = None
    """The user attribute that an adversary may not guess (`train.adversary: sensitive_attribute`)."""
    modalities: Strings = ()
    """Names under `modalities.sources`: the further views of items that the dataset has files for."""


class UgcSettings(Section):
    """How what users wrote is cleaned, told in prompts, and learned from."""

    least_characters: Positive = 2
    """Shorter texts are dropped."""
    most_characters: Positive = 2000
    """Longer texts are cut."""
    languages: Strings = ("en",)
    """ISO 639-1 codes; texts in other languages are dropped. Empty: all are kept."""
    near_duplicate: Share = 0.8
    """Jaccard overlap from which a long text counts as a copy of an earlier one."""
    keywords: Positive = 8
    """How many keywords `{words}` in a template stands for."""
    item_template: str | None = None
    """Put before an item's prompt if users wrote about it, e.g. "Users say: {words}; they feel {feeling}. "."""
    user_template: str | None = None
    """Put before a user's prompt, likewise."""


class PrepareSettings(Section):
    """Stage 01: splits, long-tail groups, fixed negatives."""

    split: Literal["leave_one_out", "temporal"] = "leave_one_out"
    """A user's last item is the test (paper), or the same points in time for all."""
    temporal_shares: Annotated[tuple[Share, Share], Field(strict=False), AfterValidator(_rising)] = (0.8, 0.9)
    """Shares of interactions before validation, and before test, begins."""
    negatives: Positive = 100
    """Unseen items that each target is ranked against in the sampled ranking (paper: 100)."""
    seed: Seed = 42
    """Of the fixed negatives, shared by every method and run."""
    tail_quantile: Share = 0.8
    """Users and items up to this quantile are the tail (paper: Pareto 80/20)."""
    length_edges: Edges = (5, 10, 15, 20)
    """Edges of the five groups by input length (the authors' code)."""
    popularity_edges: Edges = (10, 30, 60, 100)
    """Edges of the five groups by training popularity (the authors' code)."""
