"""Prompts: an item's attributes and a user's training titles as one text each (Sec. 3.2 and 3.3)."""

import string
from collections.abc import Sequence

import polars as pl

from llmesr.errors import InputError
from llmesr.prepare.dataset import OF_ITEMS
from llmesr.prepare.text import without_markup
from llmesr.sequences import Sequences

UNKNOWN = "unknown"


def plain_text(value: object, characters: int) -> str:
    """Turn an attribute into plain text: no HTML, comments, style or script, single spaces, cut at a word.

    A missing or empty value becomes `unknown`; a list becomes its parts joined by commas.
    """
    if isinstance(value, list | tuple | pl.Series):
        value = ", ".join(str(part) for part in value if part is not None)
    text = without_markup("" if value is None else str(value))
    if len(text) > characters:
        cut = text[:characters].rsplit(" ", 1)[0]
        text = cut or text[:characters]
    return text or UNKNOWN


def item_prompts(items: pl.DataFrame, template: str, characters: int) -> list[str]:
    """Fill the item template, once an item.

    Args:
        items: with `title` and any further columns of attributes.
        template: may name `{title}`, any column, and `{attributes}`: all other columns as "name is value".
        characters: each attribute is cut to this length.

    Raises:
        InputError: the template names a column that the items do not have.
    """
    attributes = [column for column in items.columns if column not in OF_ITEMS]
    named = fields(template)
    if unknown := named - set(attributes) - {"title", "attributes"}:
        raise InputError(
            f"key 'embed.item_template' names '{{{min(unknown)}}}', but the items have "
            f"{', '.join(['title', *attributes])}: correct the template"
        )
    prompts = []
    for row in items.select("title", *attributes).iter_rows(named=True):
        texts = {column: plain_text(value, characters) for column, value in row.items()}
        listed = "; ".join(f"{column} is {texts[column]}" for column in attributes if column not in named)
        prompts.append(template.format(**texts, attributes=listed))
    return prompts


def user_prompts(train: Sequences, titles: Sequence[str], template: str, history_items: int) -> list[str]:
    """Fill the user template with the titles of each user's latest *training* items, newest first.

    An encoder that cuts long texts then loses the oldest titles, not the newest.

    Args:
        train: training items; validation and test never get here, so no target can leak into a text.
        titles: of each item id.
        template: names `{history}`.
        history_items: how many of the latest items are told.

    Raises:
        InputError: the template does not name `{history}`, or names something else.
    """
    if fields(template) != {"history"}:
        raise InputError("key 'embed.user_template' must name {history} and nothing else: correct the template")
    short = [plain_text(title, 100) for title in titles]
    histories = (items[-history_items:].tolist()[::-1] for items in train)
    return [template.format(history=", ".join(short[item] for item in history)) for history in histories]


def fields(template: str) -> set[str]:
    """Find the names in a template's braces.

    Raises:
        InputError: it is malformed.
    """
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise InputError(f"a template in 'embed' is malformed ({error}): {template!r}: close every brace") from None
    return {name for _, name, _, _ in parts if name is not None}
