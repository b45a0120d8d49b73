"""Prompts: an item's attributes and a user's training titles as one text each."""

import polars as pl
import pytest
from helpers import sequences_of
from llmesr import embed
from llmesr.embed.prompts import fields, item_prompts, plain_text, user_prompts
from llmesr.errors import InputError
from llmesr.paths import artifact


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Plain  words\n here", "Plain words here"),
        ("<p>Fits <b>all</b></p><style>p {color: red}</style><script>x()</script>", "Fits all"),
        ("Ink <!-- .header {font-size: 24px} --> black", "Ink black"),
        ("Salt &amp; pepper", "Salt & pepper"),
        (["Garden", None, "Tools"], "Garden, Tools"),
        (pl.Series(["a", "b"]), "a, b"),
        (1995, "1995"),
        (None, "unknown"),
        ("  ", "unknown"),
        ("<br>", "unknown"),
        ("one two three", "one two three"),
        ("one two three four", "one two"),
        ("Donaudampfschifffahrt", "Donaudampfsch"),
    ],
)
def test_plain_text(value, text):
    assert plain_text(value, 13 if isinstance(value, str) and value[0] in "oD" else 100) == text


ITEMS = pl.DataFrame({"item": [1, 2], "title": ["Tent", None], "brand": ["Nordhut", ""], "count": [3, 1]})


def test_item_prompts_tell_every_attribute_once():
    assert item_prompts(ITEMS, "{title}: {attributes}.", 50) == [
        "Tent: brand is Nordhut.",
        "unknown: brand is unknown.",
    ]
    assert item_prompts(ITEMS, "{brand} {title} ({attributes})", 50)[0] == "Nordhut Tent ()"


def test_unknown_fields_of_templates_are_named():
    with pytest.raises(InputError, match=r"a template in 'embed' is malformed .*close every brace"):
        item_prompts(ITEMS, "{title", 50)
    with pytest.raises(InputError, match=r"item_template' names '\{colour\}', but the items have title, brand"):
        item_prompts(ITEMS, "{title} {colour}", 50)
    for template in ("no field", "{history} {name}"):
        with pytest.raises(InputError, match=r"'embed.user_template' must name \{history\} and nothing else"):
            user_prompts(sequences_of([1]), ["", "Tent"], template, 5)


def test_user_prompts_tell_the_latest_titles_newest_first():
    train = sequences_of([1, 2, 3], [1, 2])
    titles = ["", "Tent", "Stove", "<b>Lamp</b>"]
    assert user_prompts(train, titles, "Had {history}!", 2) == ["Had Lamp, Stove!", "Had Stove, Tent!"]


def test_no_held_out_title_gets_into_a_users_text(data, tiny):
    _, users = embed.prompts(data, tiny.changed({"embed.history_items": 1000}))
    test = pl.read_parquet(artifact("tiny", "prepare") / "test.parquet")
    for user, text in enumerate(users):
        for held_out in (data.validation.items[user], test["item"][user]):
            assert data.titles[held_out] not in text  # the tiny dataset has no repeats


def test_fields_of_a_template_are_what_stands_in_braces():
    assert fields("{a} and {b}, {{not c}}") == {"a", "b"}
    assert fields("nothing") == set()
