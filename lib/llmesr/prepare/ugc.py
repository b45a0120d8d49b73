"""User-generated content: reviews, tags, posts. Only what was written before the split point is kept, and cleaned.

The order of cleaning is that of the functions here: markup, personal data, length, spam, language, near-duplicates.
All of it happens on this machine, before any text can get to an encoder.
"""

import re
from functools import cache

import phonenumbers
import polars as pl
from datasketch import MinHash, MinHashLSH
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from llmesr.prepare.dataset import UGC
from llmesr.prepare.split import Split
from llmesr.prepare.text import without_markup
from llmesr.settings import Ugc

LINK = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
HANDLE = re.compile(r"(?<![\w@])@\w[\w.]*")
SENTENCE = 40
"""Shorter texts, such as tags, are too short to tell their language, and are alike because they are short."""
SHINGLE = 5
"""Characters of the pieces by which long texts are compared."""
PERMUTATIONS = 128


def before_split(texts: pl.DataFrame, interactions: pl.DataFrame, split: Split) -> tuple[pl.DataFrame, dict[str, int]]:
    """Keep what was written about training interactions, no later than the last of them, by the same user.

    A text about a held-out item would tell what is to be predicted; a later one may hint at it.

    Args:
        texts: `user_id`, `item_id`, `timestamp`, `text`, raw ids.
        interactions: all of the split's, with `user`, `item`, `user_id`, `item_id` and `timestamp`, in time order.
        split: which of them are training.

    Returns:
        `user`, `item`, `timestamp`, `text`, in the order of the texts; and how many were left after each step.
    """
    lengths = split.train.group_by("user").agg(pl.len().alias("trained"))
    ordered = interactions.with_columns(pl.int_range(pl.len()).over("user").alias("place")).join(lengths, on="user")
    train = ordered.filter(pl.col("place") < pl.col("trained"))
    ends = train.group_by("user").agg(pl.col("timestamp").max().alias("end"))
    pairs = train.select("user", "item", "user_id", "item_id").unique()
    held_out = ordered.filter(pl.col("place") >= pl.col("trained")).select("user", "item")  # had again: told too much
    known = pairs.join(held_out, on=["user", "item"], how="anti").join(ends, on="user")
    found = texts.join(known, on=["user_id", "item_id"], maintain_order="left")
    early = found.filter(pl.col("timestamp") <= pl.col("end")).select("user", "item", "timestamp", "text")
    return early, {"about a training interaction": found.height, "no later than the split point": early.height}


def clean(texts: pl.DataFrame, settings: Ugc) -> tuple[pl.DataFrame, dict[str, int]]:
    """Clean texts and drop those that are no use.

    Args:
        texts: `user`, `item`, `text`, and whatever else.
        settings: lengths, languages, and how alike is too alike.

    Returns:
        `user`, `item`, `text`, and how many were left after each step.
    """
    left = {}
    texts = texts.with_columns(
        pl.col("text").map_elements(lambda text: without_personal_data(without_markup(text)), return_dtype=pl.String)
    )
    letters = pl.col("text").str.len_chars()
    texts = texts.filter(letters >= settings.least_characters).with_columns(
        pl.col("text").str.slice(0, settings.most_characters)
    )
    left["long enough"] = texts.height
    for step, keep in (
        ("no spam", lambda text: not is_spam(text)),
        ("in a known language", lambda text: is_in(text, settings.languages)),
    ):
        texts = texts.filter(pl.col("text").map_elements(keep, return_dtype=pl.Boolean))
        left[step] = texts.height
    texts = texts.unique(["user", "item", "text"], keep="first", maintain_order=True)
    texts = texts.filter(
        pl.Series(first_of_its_like(texts["text"].to_list(), settings.near_duplicate), dtype=pl.Boolean)
    )
    left["no near-duplicate"] = texts.height
    return texts.select("user", "item", "text").cast(UGC), left


def without_personal_data(text: str) -> str:
    """Remove links, e-mail addresses, handles (@name) and phone numbers; spaces become single ones.

    A link and an e-mail address may hold a name; phone numbers are those that are valid somewhere, as written there
    with a country's code, or in the United States without.
    """
    for pattern in (LINK, EMAIL, HANDLE):
        text = pattern.sub(" ", text)
    for match in reversed(list(phonenumbers.PhoneNumberMatcher(text, "US"))):
        text = f"{text[: match.start]} {text[match.end :]}"
    return re.sub(r"\s+", " ", text).strip()


def is_spam(text: str) -> bool:
    """Tell texts that say nothing: hardly any letters or digits, or one word over and over."""
    if sum(letter.isalnum() for letter in text) < len(text) / 2:
        return True
    words = re.findall(r"\w+", text.lower())
    return len(words) >= 8 and max(map(words.count, set(words))) > len(words) / 2


@cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE)


def is_in(text: str, languages: tuple[str, ...]) -> bool:
    """Tell whether a text is in one of the languages (ISO 639-1); short ones, and any if none is named, are."""
    return not languages or len(text) < SENTENCE or _identifier().classify(text)[0] in languages


def first_of_its_like(texts: list[str], threshold: float) -> list[bool]:
    """Tell of each text whether none before it is nearly the same: Jaccard of 5-character shingles, by MinHash.

    Short texts are never nearly the same: many users give one tag, and that is what a tag is for.
    """
    index, first = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS), []
    for place, text in enumerate(texts):
        if len(text) < SENTENCE:
            first.append(True)
            continue
        told = text.lower()
        sketch = MinHash(num_perm=PERMUTATIONS)
        sketch.update_batch([told[i : i + SHINGLE].encode() for i in range(len(told) - SHINGLE + 1)])
        first.append(not index.query(sketch))
        if first[-1]:
            index.insert(place, sketch)
    return first
