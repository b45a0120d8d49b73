"""What users wrote: nothing from after the split point, nothing personal, each thing once; and what is made of it."""

import numpy as np
import polars as pl
import pytest
import torch
from conftest import changed
from llmesr import embed, prepare
from llmesr.embed import local_encoder, tune, voices
from llmesr.errors import InputError
from llmesr.paths import ROOT
from llmesr.prepare import ugc
from llmesr.prepare.split import leave_one_out, temporal
from llmesr.settings import load


@pytest.fixture
def settings():
    return load().prepare.ugc


def texts(*rows):
    return pl.DataFrame({"user": [0] * len(rows), "item": range(1, len(rows) + 1), "text": rows})


def test_nothing_about_held_out_items_and_nothing_later_is_kept():
    rows = [("u", "a", 1), ("u", "b", 2), ("u", "a", 3), ("u", "c", 4), ("u", "d", 5), ("v", "c", 1)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row").with_columns(
        pl.col("user_id").replace_strict({"u": 0, "v": 1}).alias("user"),
        pl.col("item_id").replace_strict({"a": 1, "b": 2, "c": 3, "d": 4}).alias("item"),
    )
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
    said = pl.DataFrame(written, schema=["user_id", "item_id", "timestamp", "text"], orient="row")
    kept, left = ugc.before_split(said, frame, split)
    assert kept["text"].to_list() == ["early", "at the last training moment", "somebody else's, of training"]
    assert list(left.values()) == [4, 3]


def test_an_item_had_again_after_the_split_point_is_not_told():
    frame = pl.DataFrame({"user_id": ["u"] * 4, "item_id": [*"abca"], "timestamp": [1, 2, 3, 4]}).with_columns(
        user=pl.lit(0), item=pl.Series([1, 2, 3, 1])
    )
    said = pl.DataFrame({"user_id": ["u"] * 2, "item_id": ["a", "b"], "timestamp": [1, 2], "text": ["x", "y"]})
    kept, _ = ugc.before_split(said, frame, leave_one_out(frame, "error"))
    assert kept["text"].to_list() == ["y"]


def test_a_temporal_split_has_one_point_for_all():
    rows = [("u", "a", 1), ("u", "b", 6), ("v", "a", 2), ("v", "b", 3), ("v", "c", 4), ("v", "d", 8)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row").with_columns(
        pl.col("user_id").replace_strict({"u": 0, "v": 1}).alias("user"),
        pl.col("item_id").replace_strict({"a": 1, "b": 2, "c": 3, "d": 4}).alias("item"),
    )
    split = temporal(frame, (5, 7))
    said = frame.select("user_id", "item_id", "timestamp", text=pl.concat_str("user_id", "item_id"))
    assert ugc.before_split(said, frame, split)[0]["text"].to_list() == ["ua", "va", "vb", "vc"]


def test_no_text_of_the_stage_is_of_a_held_out_pair(data, tiny):
    train = {(user, item) for user in range(data.n_users) for item in data.train[user].tolist()}
    pairs = set(data.ugc.select("user", "item").rows())
    assert len(pairs) > 30
    assert pairs <= train
    assert not pairs & set(zip(data.validation.users.tolist(), data.validation.items.tolist(), strict=True))


def test_prompts_do_not_change_with_what_was_written_later(root, tiny, data, monkeypatch):
    asked = changed(tiny, embed__item_ugc_template=" {words}", embed__user_ugc_template=" {words}")
    before = embed.prompts(data, asked)
    original = prepare.load_raw

    def with_gossip(*arguments):
        raw = original(*arguments)
        last = raw.interactions.group_by("user_id", maintain_order=True).last()
        told = last.select("user_id", "item_id", "timestamp", pl.lit("the secret of the test item").alias("text"))
        later = raw.interactions.select(
            "user_id",
            "item_id",
            pl.col("timestamp").max().alias("timestamp"),
            pl.lit("a hint given later").alias("text"),
        )
        return prepare.Raw(raw.interactions, raw.items, raw.users, pl.concat([raw.texts, told, later]))

    monkeypatch.setattr(prepare, "load_raw", with_gossip)
    assert embed.prompts(prepare.run(tiny), asked) == before


def test_personal_data_is_removed_and_the_rest_stays():
    text = (
        "Mail anna.b@x-y.org or @anna_b, tel. +49 170 1234567 or 212-555-0134; see https://x.org/a?b=1. Size 12, 1995!"
    )
    assert ugc.without_personal_data(text) == "Mail or , tel. or ; see Size 12, 1995!"
    assert ugc.without_personal_data("a 100 % good tent, 2.5 kg, 4 stars @ home") == (
        "a 100 % good tent, 2.5 kg, 4 stars @ home"
    )


def test_each_step_of_cleaning_drops_what_it_should(settings):
    long = "a really well made tent that kept the whole family dry all night long"
    german = "Das Zelt ist sehr gut verarbeitet und hat uns auch bei starkem Regen trocken gehalten"
    rows = [long, "x", "!!! 100 % ???", "buy " * 9, german, long.upper(), "sci-fi", "sci-fi", "<b>fine</b> &amp; dry"]
    kept, left = ugc.clean(texts(*rows), settings)
    assert kept["text"].to_list() == [long, "sci-fi", "sci-fi", "fine & dry"]
    assert list(left.values()) == [8, 6, 5, 4]
    again, left = ugc.clean(kept, settings)
    assert again.equals(kept)
    assert set(left.values()) == {4}
    assert german in ugc.clean(texts(*rows), settings.model_copy(update={"languages": ()}))[0]["text"].to_list()


def test_one_text_twice_about_one_item_counts_once_and_long_ones_are_cut(settings):
    frame = pl.DataFrame({"user": [0, 0, 1], "item": [1, 1, 1], "text": ["dry", "dry", "dry"]})
    assert ugc.clean(frame, settings)[0].rows() == [(0, 1, "dry"), (1, 1, "dry")]
    short = settings.model_copy(update={"most_characters": 7})
    assert ugc.clean(texts("waterproof tent"), short)[0]["text"].to_list() == ["waterpr"]


def test_a_dataset_without_texts_has_none_and_no_account_of_them(root, tiny, table):
    rows = "".join(f"{user},{item},{time}\n" for user in "uvw" for time, item in enumerate("abc"))
    folder = table("user_id,item_id,timestamp\n" + rows)
    own = {"data__name": "mine", "data__root": str(folder.parent), "data__source": "table"}
    data = prepare.run(changed(tiny, **own))
    assert data.ugc.is_empty()
    assert "texts" not in data.card
    (folder / "texts.csv").write_text("user_id,item_id,timestamp,text\nu,a,0,ripe and sweet\n")
    assert prepare.run(changed(tiny, **own)).ugc.rows() == [(0, 1, "ripe and sweet")]
    off = changed(tiny, **own, prepare__recipes__table__texts=False)
    assert prepare.run(off).ugc.is_empty()
    for content, message in (
        ("user_id,item_id,timestamp\nu,a,0\n", "texts.csv lacks the column 'text'"),
        ("user_id,item_id,timestamp,text\nu,a,2020-01-01,x\n", "has times as Datetime"),
        ("user_id,item_id,timestamp,text\nu,a,soon,x\n", "line 2: timestamp 'soon'"),
    ):
        (folder / "texts.csv").write_text(content)
        with pytest.raises(InputError, match=message):
            prepare.run(changed(tiny, **own))


def test_keywords_are_what_tells_one_from_the_others():
    documents = [["sci-fi", "time travel"], ["sci-fi", "the darkest black ink I own, and it never smudges"]]
    first, second = voices.keyword_lists(documents, 3)
    assert first == ["time travel", "sci-fi"]  # both have sci-fi
    assert len(second) == 3
    assert "sci-fi" not in second
    assert voices.keyword_lists([["the of and, which was and is about all of them"]], 3) == [[]]
    assert voices.feelings([["great tent, love it"], ["tent"], ["awful", "terrible, broke at once"]]) == [
        "mostly positive",
        "mixed",
        "mostly negative",
    ]


def test_prompts_tell_what_was_written_only_where_somebody_wrote(tiny, data):
    plain_items, plain_users = embed.prompts(data, tiny)
    asked = changed(tiny, embed__item_ugc_template=" ITEM {words} {feeling}", embed__user_ugc_template=" USER {words}")
    items, users = embed.prompts(data, asked)
    written, writers = set(data.ugc["item"]), set(data.ugc["user"])
    for item in range(data.n_items):
        told = items[item].removesuffix(plain_items[item])
        assert told.startswith(" ITEM ") if item + 1 in written else told == ""
    for user in range(data.n_users):
        told = users[user].removesuffix(plain_users[user])
        assert told.startswith(" USER ") if user in writers else told == ""
    with pytest.raises(InputError, match=r"'embed.item_ugc_template' names '\{word\}'"):
        embed.prompts(data, changed(tiny, embed__item_ugc_template=" {word}"))


def test_contrast_by_hand_and_one_item_is_no_negative_of_itself():
    texts, prompts = torch.eye(2), torch.eye(2)
    expected = -np.log(np.e / (np.e + 1))
    assert tune.info_nce(texts, prompts, torch.tensor([1, 2]), 1.0) == pytest.approx(expected, abs=1e-6)
    assert tune.info_nce(texts, prompts, torch.tensor([1, 1]), 1.0) == pytest.approx(0.0, abs=1e-6)


def test_tuning_brings_texts_to_their_items_and_is_done_once(root, tiny, data, monkeypatch):
    monkeypatch.setattr(tune, "ROOT", root)
    (root / "data").symlink_to(ROOT / "data")
    own = changed(tiny, embed__lora__epochs=3, embed__lora__learning_rate=0.003)
    item_texts, _ = embed.prompts(data, own)
    monkeypatch.setattr(local_encoder, "ROOT", root)
    chosen = tune.tuned(own, data.ugc, item_texts)
    said = data.ugc["text"].to_list()[:40]
    items = torch.tensor(data.ugc["item"].to_numpy()[:40])

    def loss(settings):
        vectors, prompts = (
            torch.from_numpy(embed.encode(list(part), settings, cached=False)) for part in (said, item_texts)
        )
        return float(tune.info_nce(vectors, prompts[items.long() - 1], items, 0.05))

    assert loss(chosen) < 0.8 * loss(own)
    monkeypatch.setattr(tune, "fit", lambda *_: pytest.fail("it was tuned before"))
    assert tune.tuned(own, data.ugc, item_texts) == chosen
    with pytest.raises(InputError, match="there are 3 texts"):
        tune.tuned(own, data.ugc[:3], item_texts)
    with pytest.raises(InputError, match="has the adapter"):
        tune.tuned(chosen, data.ugc, item_texts)
    other = changed(own, prepare__seed=1)
    with pytest.raises(pytest.fail.Exception, match="tuned before"):  # another seed, another adapter
        tune.tuned(other, data.ugc, item_texts)
    with pytest.raises(InputError, match="is for variants of the study"):
        embed.run(own, data)
    with pytest.raises(InputError, match="over the network"):
        tune.tuned(_remote(own), data.ugc, item_texts)


def _remote(settings):
    api = {
        "kind": "api",
        "model": "m",
        "base_url": "http://localhost",
        "key_variable": "K",
        "batch_size": 1,
        "retries": 0,
        "timeout_seconds": 1.0,
    }
    encoders = {**settings.model_dump()["embed"]["encoders"], "remote": api}
    return changed(settings, embed__encoders=encoders, embed__encoder="remote")


def test_an_adapter_that_is_not_there_is_named(tiny):
    name = tiny.embed.encoder
    own = changed(tiny, **{f"embed__encoders__{name}__adapter": "runs/nowhere"})
    with pytest.raises(InputError, match=r"nowhere holds no adapter_model.safetensors"):
        embed.encode(["x"], own, cached=False)
