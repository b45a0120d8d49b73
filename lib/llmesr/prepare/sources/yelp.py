"""Yelp reviews as JSON lines, of either release.

Today's: `yelp_academic_dataset_review.json` and `…_business.json`; dates have a time, categories are one text.
The RecSys challenge of 2013, which the paper took: `yelp_training_set_review.json` and `…_business.json`;
dates are days, so that the reviews of a day keep the file's order, and categories are a list.
"""

import re
from datetime import datetime
from pathlib import Path

import polars as pl

from llmesr.errors import InputError
from llmesr.paths import shown
from llmesr.prepare.sources import lines
from llmesr.settings import DatasetSettings

RELEASES = ("yelp_academic_dataset", "yelp_training_set")
# a business's `stars` are the mean of all its reviews, those held out among them: they would leak into the prompt
COLUMNS = {"title": "name", "categories": "categories", "city": "city", "state": "state"}
DATE = re.compile(r"\d{4}-\d\d-\d\d(?: \d\d:\d\d:\d\d)?")


def date(fields: lines.Fields, name: str) -> datetime:
    """Read a day, or a day and a time."""
    value = fields[name]
    try:
        if isinstance(value, str) and DATE.fullmatch(value):
            return datetime.fromisoformat(value)
    except ValueError:
        pass  # the form is right, but there is no such day
    raise ValueError(f"the field '{name}' is {value!r}, not a date like 2013-01-31 or 2013-01-31 18:30:00")


REVIEWS = lines.Reviews("user_id", "business_id", "date", "stars", "text", date, pl.Datetime("us"))


def load(folder: Path, recipe: DatasetSettings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Load every review as an interaction, and the businesses that occur as items.

    A business without a line of its own or a name is called `unknown`.

    Raises:
        InputError: a file is missing, ambiguous or damaged, or a line is malformed.
    """
    release = _release(folder)
    reviews, businesses = (
        lines.find(folder, lambda name, stem=f"{release}_{part}": name.split(".")[0] == stem, f"'{release}_{part}'")
        for part in ("review", "business")
    )
    interactions = lines.interactions(reviews, REVIEWS, recipe.texts)
    return interactions, lines.catalogue(businesses, interactions["item_id"], "business_id", COLUMNS)


def _release(folder: Path) -> str:
    """Tell the release by the names of its files."""
    found = [release for release in RELEASES if list(folder.glob(f"{release}_review.*"))]
    if len(found) > 1:
        raise InputError(f"{shown(folder)} has the reviews of {' and '.join(found)}: leave only one of them there")
    if not found:
        expected = " or ".join(f"'{release}_review.json'" for release in RELEASES)
        raise InputError(f"{shown(folder)} has no {expected}: put the reviews and businesses of one release there")
    return found[0]
