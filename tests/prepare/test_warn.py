"""What may spoil a dataset is counted for the card, and said."""

import json

import polars as pl
import pytest
from llmesr import prepare
from llmesr.paths import artifact
from llmesr.prepare import warn


@pytest.fixture
def mine(root, tiny, tmp_path):
    """Prepare a dataset of one's own, and return its card."""

    def card(rows, items=None, *, same_time=False, **changes):
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        names = sorted({item for _, item in rows})
        lines = [f"{user},{item},{1 if same_time else time}" for time, (user, item) in enumerate(rows)]
        (folder / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *lines]))
        items = items or "item_id,title\n" + "".join(f"{name},Thing {name}\n" for name in names)
        (folder / "items.csv").write_text(items)
        settings = tiny.changed({"dataset": "mine", "datasets": {"mine": {"folder": str(folder)}}})
        prepare.run(settings.changed(changes))
        return json.loads((artifact("mine", "prepare") / "card.json").read_text())

    return card


def test_repeats_and_test_items_that_were_had_before_are_counted_and_said(mine, capsys):
    rows = [("u", item) for item in "abca"] + [("v", item) for item in "abcd"]
    card = mine(rows)
    assert card["repeat_share"] == pytest.approx(1 / 8)
    assert card["test_items_had_before"] == 1
    assert "1 of 2 test items are ones that their user had before (12% of all" in capsys.readouterr().err
    assert any("'repeats: first'" in text for text in card["notes"])
    quiet = mine(rows, **{"evaluate.exclude_seen": False})
    assert quiet["test_items_had_before"] == 1
    assert not any("had before" in text for text in quiet["notes"])
    assert mine(rows, **{"data.repeats": "first"})["repeat_share"] == 0


@pytest.mark.parametrize(
    ("names", "ties", "said"),
    [
        ([f"{number}" for number in range(9, 49)], "file", True),  # 10 comes after 9
        ([f"i{number:02}" for number in range(40)], "file", True),
        ([f"i{number:02}" for number in range(40)][::-1], "file", True),
        ([f"i{number:02}" for number in range(40)], "random", False),
        ([f"i{number * 17 % 40:02}" for number in range(40)], "file", False),
    ],
    ids=["numbers", "text", "descending", "random", "no order"],
)
def test_ties_in_the_order_of_ids_are_counted_and_said(mine, names, ties, said):
    card = mine([("u", name) for name in names], same_time=True, **{"data.ties": ties})
    assert card["tied_with_previous"] == pytest.approx(39 / 40)
    assert any("in the order of item ids" in text for text in card["notes"]) == said


def test_fewer_negatives_than_asked_for_are_counted_and_said(mine, capsys):
    rows = [(user, item) for user in "uvw" for item in "abcd"] + [("x", item) for item in "efgh"]
    card = mine(rows, **{"prepare.negatives": 4})
    assert card["held_out_with_fewer_negatives"] == 0
    card = mine(rows, **{"prepare.negatives": 100})
    assert card["held_out_with_fewer_negatives"] == 8
    assert "8 of 8 held-out items are ranked against fewer than 100 negatives (4 to 4)" in capsys.readouterr().err


def test_items_that_share_their_text_are_counted_and_said(mine, capsys):
    rows = [(user, item) for user in "uvw" for item in "abcd"]
    same = "item_id,title,brand\na,Cookies,Ox\nb,Cookies,Ox\nc,Cookies,Elk\nd,Pan,\n"
    card = mine(rows, same)
    assert card["items_with_the_text_of_another"] == 2
    assert "2 of 4 items (50%) have the same text as another one" in capsys.readouterr().err
    assert mine(rows)["items_with_the_text_of_another"] == 0


def test_attributes_that_say_nothing_to_a_language_model_are_named(capsys):
    n = 300
    items = pl.DataFrame(
        {
            "item_id": [str(i) for i in range(n)],
            "title": [f"Thing {i}" for i in range(n)],
            "image": [f"https://example.org/{i}.jpg" for i in range(n)],
            "InvoiceNo": [f"C{536000 + i}" for i in range(n)],
            "year": [str(1900 + i % 120) for i in range(n)],
            "brand": [f"Brand {i % 7}" for i in range(n)],
            "nothing": pl.Series([None] * n, dtype=pl.String),
        }
    )
    warn.of_texts(items)
    said = capsys.readouterr().err
    assert "'image' holds addresses (URLs)" in said
    assert "'InvoiceNo' looks like ids ('C536000')" in said
    for column in ("year", "brand", "nothing"):
        assert f"'{column}'" not in said


def test_texts_alike_are_said_from_a_twentieth_of_the_items_on(capsys):
    def items(alike):
        titles = ["same"] * alike + [f"title {i}" for i in range(100 - alike)]
        return pl.DataFrame({"item": range(100), "item_id": [str(i) for i in range(100)], "title": titles})

    assert warn.of_texts(items(5)) == {"items_with_the_text_of_another": 5}
    assert "same text" not in capsys.readouterr().err
    assert warn.of_texts(items(6)) == {"items_with_the_text_of_another": 6}
    assert "6 of 100 items (6%) have the same text as another one" in capsys.readouterr().err
