"""What users wrote, condensed to a sentence: keywords and sentiment, of an item's texts or of a user's own."""

from collections.abc import Callable

import numpy as np
import polars as pl
from sklearn.feature_extraction.text import TfidfVectorizer

from llmesr.embed.prompts import fields
from llmesr.errors import InputError
from llmesr.optional import optional

SENTENCE = 40
"""Shorter texts, such as tags, stay whole: they are too short to be taken apart, or to tell their language."""
FEELINGS = ((0.2, "mostly positive"), (-0.2, "mixed"), (-np.inf, "mostly negative"))
"""Least mean compound score of VADER, from -1 to 1, for each word."""


def sentences(texts: pl.DataFrame, by: str, template: str, keywords: int) -> dict[int, str]:
    """Write a sentence on what was written about each item, or by each user.

    Args:
        texts: `user`, `item`, `text`.
        by: `item` or `user`.
        template: may name `{words}`, the keywords, and `{feeling}`.
        keywords: how many.

    Returns:
        a sentence for each item or user that has a text; nothing for the others.

    Raises:
        InputError: the template names something else, or is malformed.
    """
    if unknown := fields(template) - {"words", "feeling"}:
        raise InputError(
            f"key 'ugc.{by}_template' names '{{{min(unknown)}}}', but there are {{words}} and {{feeling}}: "
            "correct the template"
        )
    if texts.is_empty():
        return {}
    grouped = texts.group_by(by, maintain_order=True).agg("text").sort(by)
    documents = grouped["text"].to_list()
    features = zip(grouped[by], keyword_lists(documents, keywords), feelings(documents), strict=True)
    return {
        number: template.format(words=", ".join(words) or "little", feeling=feeling)
        for number, words, feeling in features
    }


def analyser() -> Callable[[str], list[str]]:
    """Return what takes a text apart: into words and pairs of words; a short text, such as a tag, stays whole."""
    analyse = TfidfVectorizer(ngram_range=(1, 2), stop_words="english").build_analyzer()
    return lambda text: [text.lower()] if len(text) < SENTENCE else analyse(text)


def keyword_lists(documents: list[list[str]], keywords: int) -> list[list[str]]:
    """Find each document's words and pairs of words that tell it apart from the others, by TF-IDF, the best first.

    Equal weights are in the order of the alphabet.

    Args:
        documents: the texts of each.
        keywords: how many at most.
    """
    terms = analyser()
    vectorizer = TfidfVectorizer(
        analyzer=lambda texts: [term for text in texts for term in terms(text)], sublinear_tf=True
    )
    if not any(terms(text) for texts in documents for text in texts):
        return [[] for _ in documents]  # stop words alone
    weights = vectorizer.fit_transform(documents)
    names, best = vectorizer.get_feature_names_out(), []
    for row in range(len(documents)):
        part = slice(weights.indptr[row], weights.indptr[row + 1])
        order = np.lexsort([weights.indices[part], -weights.data[part]])[:keywords]
        best.append([str(names[i]) for i in weights.indices[part][order]])
    return best


def feelings(documents: list[list[str]]) -> list[str]:
    """Describe how each document's texts feel on average, by VADER's lexicon (Hutto and Gilbert, ICWSM 2014)."""
    with optional("ugc"):
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    vader = SentimentIntensityAnalyzer()
    scores = [np.mean([vader.polarity_scores(text)["compound"] for text in texts]) for texts in documents]
    return [next(word for least, word in FEELINGS if score >= least) for score in scores]
