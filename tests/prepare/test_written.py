"""What users wrote: nothing about held-out items, and nothing from after the split point, gets out of stage 01."""

import polars as pl
import pytest
from llmesr import embed, prepare
from llmesr.errors import InputError
from llmesr.extras import ugc
from llmesr.prepare.split import leave_one_out, temporal
from llmesr.prepare.written import before_split


def interactions(rows, users, items):
    """Number interactions (user, item, time)."""
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return frame.with_columns(
        pl.col("user_id").replace_strict(users).alias("user"), pl.col("item_id").replace_strict(items).alias("item")
    )


def test_nothing_about_held_out_items_and_nothing_later_is_kept():
    rows = [("u", "a", 1), ("u", "b", 2), ("u", "a", 3), ("u", "c", 4), ("u", "d", 5), ("v", "c", 1)]
    frame = interactions(rows, {"u": 0, "v": 1}, {"a": 1, "b": 2, "c": 3, "d": 4})
    split = leave_one_out(frame, "train_only")
    written = [
        ("u", "a", 1, "early"),
        ("u", "b", 3, "at the last training moment"),
        ("u", "b", 4, "later, about a training item"),
        ("u", "c", 2, "about the validation item"),
        ("u", "d", 1, "about the test item"),
        ("v", "c", 1, "somebody else's, of training"),
        ("w", "a", 1, "nobody's"),
        ("v", "a", 1, "about what they never had"),
    ]
    texts = pl.DataFrame(written, schema=["user_id", "item_id", "timestamp", "text"], orient="row")
    kept, left = before_split(texts, frame, split)
    assert kept["text"].to_list() == ["early", "at the last training moment", "somebody else's, of training"]
    assert list(left.values()) == [4, 3]


def test_an_item_had_again_after_the_split_point_is_left_out():
    rows = [("u", item, time) for time, item in enumerate("abca")]
    frame = interactions(rows, {"u": 0}, {"a": 1, "b": 2, "c": 3})
    texts = pl.DataFrame({"user_id": ["u"] * 2, "item_id": ["a", "b"], "timestamp": [0, 1], "text": ["x", "y"]})
    kept, _ = before_split(texts, frame, leave_one_out(frame, "error"))
    assert kept["text"].to_list() == ["y"]


def test_a_temporal_split_has_one_point_for_all():
    rows = [("u", "a", 1), ("u", "b", 6), ("v", "a", 2), ("v", "b", 3), ("v", "c", 4), ("v", "d", 8)]
    frame = interactions(rows, {"u": 0, "v": 1}, {"a": 1, "b": 2, "c": 3, "d": 4})
    split = temporal(frame, (5, 7))
    texts = frame.select("user_id", "item_id", "timestamp", text=pl.concat_str("user_id", "item_id"))
    assert before_split(texts, frame, split)[0]["text"].to_list() == ["ua", "va", "vb", "vc"]


def test_no_text_of_the_stage_is_about_a_held_out_pair(data):
    train = {(user, item) for user, items in enumerate(data.train) for item in items.tolist()}
    pairs = set(data.texts.select("user", "item").rows())
    assert len(pairs) > 30
    assert pairs <= train
    assert not pairs & set(zip(data.validation.users.tolist(), data.validation.items.tolist(), strict=True))


@pytest.mark.slow
def test_prompts_do_not_change_with_what_was_written_later(tiny, data, monkeypatch):
    settings = tiny.changed({"ugc.item_template": "{words} ", "ugc.user_template": "{words} "})
    before = ugc.prompts(settings, data)
    assert before != embed.prompts(data, tiny)
    original = prepare.load_raw

    def with_hints(*arguments):
        raw = original(*arguments)
        last = raw.interactions.group_by("user_id", maintain_order=True).last()
        about_test = last.select("user_id", "item_id", "timestamp", pl.lit("the secret of the test item").alias("text"))
        late = pl.col("timestamp").max().alias("timestamp")
        later = raw.interactions.select("user_id", "item_id", late, pl.lit("a hint given later").alias("text"))
        return prepare.Raw(raw.interactions, raw.items, raw.users, pl.concat([raw.texts, about_test, later]))

    monkeypatch.setattr(prepare, "load_raw", with_hints)
    assert ugc.prompts(settings, prepare.run(tiny)) == before


def test_a_dataset_without_texts_has_none_and_no_account_of_them(root, tiny, table):
    rows = "".join(f"{user},{item},{time}\n" for user in "uvw" for time, item in enumerate("abc"))
    folder = table("user_id,item_id,timestamp\n" + rows)
    settings = tiny.changed({"dataset": "mine", "datasets": {"mine": {"folder": str(folder)}}})
    data = prepare.run(settings)
    assert data.texts.is_empty()
    assert "texts" not in data.card
    (folder / "texts.csv").write_text("user_id,item_id,timestamp,text\nu,a,0,ripe and sweet\n")
    assert prepare.run(settings).texts.rows() == [(0, 1, "ripe and sweet")]
    assert prepare.run(settings.changed({"data.texts": False})).texts.is_empty()
    for content, message in (
        ("user_id,item_id,timestamp\nu,a,0\n", "texts.csv lacks the column 'text'"),
        ("user_id,item_id,timestamp,text\nu,a,2020-01-01,x\n", "has times as Datetime"),
        ("user_id,item_id,timestamp,text\nu,a,soon,x\n", "line 2: timestamp 'soon'"),
    ):
        (folder / "texts.csv").write_text(content)
        with pytest.raises(InputError, match=message):
            prepare.run(settings)
