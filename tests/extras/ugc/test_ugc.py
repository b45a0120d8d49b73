"""What users wrote: nothing personal, each thing once; and what is made of it."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from llmesr import embed, experiments
from llmesr.errors import InputError
from llmesr.extras import ugc
from llmesr.extras.ugc import clean, text_features, tune
from llmesr.paths import artifact
from llmesr.settings import UgcSettings

API = {"kind": "api", "model": "m", "base_url": "http://localhost"}


@pytest.fixture
def settings():
    return UgcSettings()


@pytest.fixture
def remote(tiny):
    """Settings whose encoder is reached over the network."""
    return tiny.changed({"embed.encoders.remote": API, "embed.encoder": "remote", "embed.lora.epochs": 1})


def texts(*rows):
    return pl.DataFrame({"user": [0] * len(rows), "item": range(1, len(rows) + 1), "text": rows})


# --- cleaning ---


def test_personal_data_is_removed_and_the_rest_stays():
    text = (
        "Mail anna.b@x-y.org or @anna_b, tel. +49 170 1234567 or 212-555-0134; see https://x.org/a?b=1. Size 12, 1995!"
    )
    assert clean.without_personal_data(text) == "Mail or , tel. or ; see Size 12, 1995!"
    assert clean.without_personal_data("a 100 % good tent, 2.5 kg, 4 stars @ home") == (
        "a 100 % good tent, 2.5 kg, 4 stars @ home"
    )


def test_each_step_of_cleaning_drops_what_it_should(settings):
    long = "a really well made tent that kept the whole family dry all night long"
    german = "Das Zelt ist sehr gut verarbeitet und hat uns auch bei starkem Regen trocken gehalten"
    rows = [long, "x", "!!! 100 % ???", "buy " * 9, german, long.upper(), "sci-fi", "sci-fi", "<b>fine</b> &amp; dry"]
    kept, left = clean.clean(texts(*rows), settings)
    assert kept["text"].to_list() == [long, "sci-fi", "sci-fi", "fine & dry"]
    assert list(left.values()) == [8, 6, 5, 4]
    again, left = clean.clean(kept, settings)
    assert again.equals(kept)
    assert set(left.values()) == {4}
    assert german in clean.clean(texts(*rows), settings.model_copy(update={"languages": ()}))[0]["text"].to_list()


def test_one_text_twice_about_one_item_counts_once_and_long_ones_are_cut(settings):
    frame = pl.DataFrame({"user": [0, 0, 1], "item": [1, 1, 1], "text": ["dry", "dry", "dry"]})
    assert clean.clean(frame, settings)[0].rows() == [(0, 1, "dry"), (1, 1, "dry")]
    short = settings.model_copy(update={"most_characters": 7})
    assert clean.clean(texts("waterproof tent"), short)[0]["text"].to_list() == ["waterpr"]


# --- the cleaned texts of a dataset ---


def test_texts_are_cleaned_once_and_anew_under_other_settings(tiny, data, monkeypatch):
    ugc.save(tiny, data)
    cleaned, left = ugc.texts(tiny, data), ugc.steps(tiny, data)
    assert cleaned.equals(clean.clean(data.texts, tiny.ugc)[0])
    assert left == {**data.card["texts"], **clean.clean(data.texts, tiny.ugc)[1]}
    assert not cleaned["text"].str.contains("@").any()
    strict = tiny.changed({"ugc.near_duplicate": 0.3})
    assert ugc.texts(strict, data).height < cleaned.height
    changed = replace(data, texts=data.texts[1:])
    assert ugc.texts(tiny, changed).equals(clean.clean(changed.texts, tiny.ugc)[0])
    monkeypatch.setattr(clean, "clean", lambda *_: pytest.fail("they were cleaned before"))
    other_prompts = tiny.changed({"ugc.keywords": 3, "ugc.item_template": "{words} "})  # which clean nothing
    assert ugc.texts(other_prompts, data).equals(cleaned)


def test_a_dataset_without_texts_is_not_cleaned(tiny, data, monkeypatch):
    monkeypatch.setattr(clean, "clean", lambda *_: pytest.fail("there is nothing to clean"))
    none = replace(data, texts=data.texts.clear(), card={})
    ugc.save(tiny, none)
    assert ugc.texts(tiny, none).is_empty()
    assert ugc.steps(tiny, none) == {"read": 0}


def test_damaged_texts_are_named(tiny, data):
    ugc.save(tiny, data)
    (artifact("tiny", "modalities") / "texts.parquet").write_text("no parquet")
    with pytest.raises(InputError, match=r"texts.parquet is damaged: delete it and run `dvc repro modalities`"):
        ugc.texts(tiny, data)


# --- prompts ---


def test_keywords_are_what_tells_one_from_the_others():
    documents = [["sci-fi", "time travel"], ["sci-fi", "the darkest black ink I own, and it never smudges"]]
    first, second = text_features.keyword_lists(documents, 3)
    assert first == ["time travel", "sci-fi"]  # both have sci-fi
    assert len(second) == 3
    assert "sci-fi" not in second
    assert text_features.keyword_lists([["the of and, which was and is about all of them"]], 3) == [[]]
    assert text_features.feelings([["great tent, love it"], ["tent"], ["awful", "terrible, broke at once"]]) == [
        "mostly positive",
        "mixed",
        "mostly negative",
    ]


def test_prompts_have_a_sentence_only_where_somebody_wrote(tiny, data):
    plain_items, plain_users = embed.prompts(data, tiny)
    assert ugc.prompts(tiny, data) == (plain_items, plain_users)
    templates = {"ugc.item_template": " ITEM {words} {feeling}", "ugc.user_template": " USER {words}"}
    items, users = ugc.prompts(tiny.changed(templates), data)
    written = ugc.texts(tiny, data)
    for number, (own, plain) in enumerate(zip(items, plain_items, strict=True), start=1):
        sentence = own.removesuffix(plain)
        assert sentence.startswith(" ITEM ") if number in set(written["item"]) else sentence == ""
    for number, (own, plain) in enumerate(zip(users, plain_users, strict=True)):
        sentence = own.removesuffix(plain)
        assert sentence.startswith(" USER ") if number in set(written["user"]) else sentence == ""


@pytest.mark.parametrize("by", ["item", "user"])
def test_templates_that_name_what_is_not_there_are_named(tiny, data, by):
    with pytest.raises(InputError, match=rf"'ugc.{by}_template' names '\{{word\}}'"):
        ugc.prompts(tiny.changed({f"ugc.{by}_template": " {word}"}), data)


def test_embeddings_are_made_of_these_prompts(tiny, data, monkeypatch):
    monkeypatch.setattr(embed, "from_prompts", lambda settings, *prompts: prompts)
    settings = tiny.changed({"ugc.item_template": "{words} "})
    assert ugc.make_embeddings(settings, data) == ugc.prompts(settings, data)


# --- tuning ---


def test_contrast_by_hand_and_one_item_is_no_negative_of_itself():
    texts, prompts = torch.eye(2), torch.eye(2)
    expected = -np.log(np.e / (np.e + 1))
    assert tune.info_nce(texts, prompts, torch.tensor([1, 2]), 1.0) == pytest.approx(expected, abs=1e-6)
    assert tune.info_nce(texts, prompts, torch.tensor([1, 1]), 1.0) == pytest.approx(0.0, abs=1e-6)


def test_variants_that_cannot_be_tuned_are_left_out_with_a_reason(tiny, remote, data):
    study = experiments.load(tiny, data)["ugc"]
    assert ugc.without_obstacles(study, data) == study
    few = ugc.without_obstacles(study, replace(data, texts=data.texts[:3]))
    assert set(study.available) - set(few.available) == {"ugc-tuned"}
    assert "only 3 texts by users are left after cleaning, and tuning needs 16." in few.unavailable
    elsewhere = experiments.load(remote.changed({"embed.lora.epochs": 0}), data)["ugc"]
    assert "encoder 'remote' is reached over the network" in ugc.without_obstacles(elsewhere, data).unavailable


def test_what_cannot_be_tuned_is_named(tiny, remote, data):
    own = tiny.changed({"embed.lora.epochs": 3})
    with pytest.raises(InputError, match=r"only 3 texts by users .*: set 'embed.lora.epochs' to 0"):
        tune.tuned(own, data.texts[:3], [])
    adapted = own.changed({f"embed.encoders.{own.embed.encoder}.adapter": "runs/somewhere"})
    with pytest.raises(InputError, match=r"has the adapter 'runs/somewhere' already: set 'embed.lora.epochs' to 0"):
        tune.tuned(adapted, data.texts, [])
    with pytest.raises(InputError, match=r"over the network and cannot be tuned: set 'embed.lora.epochs' to 0"):
        tune.tuned(remote, data.texts, [])
    with pytest.raises(InputError, match="is for experiments"):
        embed.run(own, data)


@pytest.mark.slow
def test_tuning_brings_texts_to_their_items_and_is_done_once(root, tiny, data, monkeypatch):
    own = tiny.changed({"embed.lora.epochs": 3, "embed.lora.learning_rate": 0.003})
    item_texts, _ = embed.prompts(data, own)
    cleaned = ugc.texts(own, data)
    tuned = tune.tuned(own, cleaned, item_texts)
    assert len(list((root / "runs" / "tiny" / "lora").iterdir())) == 1
    some = cleaned[:40]
    items = torch.tensor(some["item"].to_numpy(), dtype=torch.int64)

    def loss(settings):
        parts = (some["text"].to_list(), item_texts)
        vectors, prompts = (torch.from_numpy(embed.encode(list(part), settings, cached=False)) for part in parts)
        return float(tune.info_nce(vectors, prompts[items - 1], items, 0.05))

    assert loss(tuned) < 0.8 * loss(own)
    monkeypatch.setattr(tune, "fit", lambda *_: pytest.fail("it was tuned before"))
    assert tune.tuned(own, cleaned, item_texts) == tuned
    with pytest.raises(pytest.fail.Exception, match="tuned before"):  # another seed, another adapter
        tune.tuned(own.changed({"prepare.seed": 1}), cleaned, item_texts)


def test_an_adapter_that_is_not_there_is_named(tiny):
    own = tiny.changed({f"embed.encoders.{tiny.embed.encoder}.adapter": "runs/nowhere"})
    with pytest.raises(InputError, match=r"nowhere holds no adapter_model.safetensors"):
        embed.encode(["x"], own, cached=False)


def test_a_text_of_the_least_length_is_kept(settings):
    short = settings.model_copy(update={"least_characters": 8, "languages": ()})
    rows = pl.DataFrame({"user": [0, 0], "item": [1, 2], "text": ["dry tent", "dry ten"]})
    assert clean.clean(rows, short)[0]["text"].to_list() == ["dry tent"]


def test_many_mild_texts_do_not_add_up_to_a_strong_feeling():
    assert text_features.feelings([["it is okay"] * 20]) == text_features.feelings([["it is okay"]])
