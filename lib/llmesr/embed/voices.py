"""What users wrote, told in a sentence: keywords and sentiment, of an item's texts or of a user's own."""

from collections.abc import Callable

import numpy as np
import polars as pl
from sklearn.feature_extraction.text import TfidfVectorizer
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from llmesr.embed.prompts import fields
from llmesr.errors import InputError
from llmesr.prepare.ugc import SENTENCE

FEELINGS = ((0.2, "mostly positive"), (-0.2, "mixed"), (-np.inf, "mostly negative"))
"""Least mean compound score of VADER, from -1 to 1, for each word."""


def sentences(ugc: pl.DataFrame, by: str, template: str, keywords: int) -> dict[int, str]:
    """Tell in a sentence what was written about each item, or by each user.

    Args:
        ugc: `user`, `item`, `text`.
        by: `item` or `user`.
        template: may name `{words}`, the keywords, and `{feeling}`.
        keywords: how many.

    Returns:
        a sentence for each item or user of whom there is a text; nothing for the others.

    Raises:
        InputError: the template names something else.
    """
    if unknown := fields(template) - {"words", "feeling"}:
        raise InputError(
            f"key 'embed.{by}_ugc_template' names '{{{min(unknown)}}}', but there are {{words}} and {{feeling}}: "
            "correct the template"
        )
    if ugc.is_empty():
        return {}
    texts = ugc.group_by(by, maintain_order=True).agg("text").sort(by)
    documents = texts["text"].to_list()
    told = zip(texts[by], keyword_lists(documents, keywords), feelings(documents), strict=True)
    return {who: template.format(words=", ".join(words) or "little", feeling=feeling) for who, words, feeling in told}


def analyser() -> Callable[[str], list[str]]:
    """Give what takes a text apart: into words and pairs of words; a short text, such as a tag, stays whole."""
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
    names, found = vectorizer.get_feature_names_out(), []
    for row in range(len(documents)):
        part = slice(weights.indptr[row], weights.indptr[row + 1])
        order = np.lexsort([weights.indices[part], -weights.data[part]])[:keywords]
        found.append([str(names[i]) for i in weights.indices[part][order]])
    return found


def feelings(documents: list[list[str]]) -> list[str]:
    """Say how each document's texts feel on average, by VADER's lexicon (Hutto and Gilbert, ICWSM 2014)."""
    vader = SentimentIntensityAnalyzer()
    found = []
    for texts in documents:
        score = np.mean([vader.polarity_scores(text)["compound"] for text in texts])
        found.append(next(word for least, word in FEELINGS if score >= least))
    return found
