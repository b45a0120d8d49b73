"""User-generated content (reviews, tags, posts) is cleaned: markup, personal data, length, spam, language, duplicates.

All of it happens on this machine, before any text can get to an encoder. Which texts may be used at all, those of
training interactions before the split point, was decided in stage 01.
"""

import re
from functools import cache

import polars as pl

from llmesr.extras.ugc.text_features import SENTENCE
from llmesr.optional import optional
from llmesr.prepare.dataset import TEXTS
from llmesr.prepare.text import without_markup
from llmesr.settings import UgcSettings

with optional("ugc"):
    import phonenumbers
    from datasketch import MinHash, MinHashLSH
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

LINK = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
HANDLE = re.compile(r"(?<![\w@])@\w[\w.]*")
SHINGLE = 5
"""Characters of the pieces by which long texts are compared."""
PERMUTATIONS = 128


def clean(texts: pl.DataFrame, settings: UgcSettings) -> tuple[pl.DataFrame, dict[str, int]]:
    """Clean texts and drop those that are of no use.

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
    return texts.select("user", "item", "text").cast(TEXTS), left


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
    """Detect texts that say nothing: hardly any letters or digits, or one word over and over."""
    if sum(letter.isalnum() for letter in text) < len(text) / 2:
        return True
    words = re.findall(r"\w+", text.lower())
    return len(words) >= 8 and max(map(words.count, set(words))) > len(words) / 2


@cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE)


def is_in(text: str, languages: tuple[str, ...]) -> bool:
    """Check whether a text is in one of the languages (ISO 639-1); short ones pass, and all do if none is named."""
    return not languages or len(text) < SENTENCE or _identifier().classify(text)[0] in languages


def first_of_its_like(texts: list[str], threshold: float) -> list[bool]:
    """Check for each text that no earlier one is nearly the same: Jaccard of 5-character shingles, by MinHash.

    Short texts always pass: many users give the same tag, and that is what a tag is for.
    """
    index, first = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS), []
    for number, text in enumerate(texts):
        if len(text) < SENTENCE:
            first.append(True)
            continue
        lower = text.lower()
        sketch = MinHash(num_perm=PERMUTATIONS)
        sketch.update_batch([lower[i : i + SHINGLE].encode() for i in range(len(lower) - SHINGLE + 1)])
        first.append(not index.query(sketch))
        if first[-1]:
            index.insert(number, sketch)
    return first
