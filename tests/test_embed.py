"""Stage 02: prompts, the cache, PCA; encoders are in test_encoders.py."""

import numpy as np
import polars as pl
import pytest
from conftest import ROOT, changed
from llmesr import embed
from llmesr.embed import look
from llmesr.embed.cache import encode_cached
from llmesr.embed.look import nearest_items
from llmesr.embed.prompts import item_prompts, plain_text, user_prompts
from llmesr.embed.reduce import reduce
from llmesr.errors import InputError
from llmesr.paths import artifact
from llmesr.prepare.dataset import Sequences
from llmesr.settings import LocalEncoder, load

# --- prompts ---


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
            user_prompts(Sequences(np.array([1]), np.array([0, 1])), ["", "Tent"], template, 5)


def test_user_prompts_tell_the_latest_titles_newest_first():
    train = Sequences(np.array([1, 2, 3, 1, 2]), np.array([0, 3, 5]))
    titles = ["", "Tent", "Stove", "<b>Lamp</b>"]
    assert user_prompts(train, titles, "Had {history}!", 2) == ["Had Lamp, Stove!", "Had Stove, Tent!"]


def test_no_held_out_title_gets_into_a_users_text(data, tiny):
    _, users = embed.prompts(data, changed(tiny, embed__history_items=1000))
    test = pl.read_parquet(artifact("tiny", "prepare") / "test.parquet")
    for user, text in enumerate(users):
        for held_out in (data.validation.items[user], test["item"][user]):
            assert data.titles[held_out] not in text  # the tiny dataset has no repeats


# --- the cache ---


class Counter:
    """An encoder that counts what it was asked for and may die after its first batch."""

    def __init__(self, dies=False):
        self.asked, self.dies = [], dies

    def __call__(self, texts):
        for i, text in enumerate(texts):
            self.asked.append(text)
            yield [i], np.array([[len(text), 1.0]])
            if self.dies:
                raise KeyboardInterrupt


def test_only_what_is_missing_is_encoded(tmp_path):
    first, second, third, fourth = Counter(dies=True), Counter(), Counter(), Counter()
    with pytest.raises(KeyboardInterrupt):
        encode_cached(["a", "bb"], "model", first, tmp_path)
    vectors = encode_cached(["a", "bb", "a"], "model", second, tmp_path)
    assert (first.asked, second.asked) == (["a"], ["bb"])
    assert vectors.tolist() == [[1, 1], [2, 1], [1, 1]]
    encode_cached(["bb", "ccc"], "model", third, tmp_path)
    encode_cached(["a"], "other model", fourth, tmp_path)
    assert (third.asked, fourth.asked) == (["ccc"], ["a"])


def test_an_encoders_error_is_not_taken_for_a_damaged_cache(data, tiny, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    raw = changed(tiny).model_dump(by_alias=True)
    raw["embed"]["encoders"]["minilm"]["model"] = "data/models/nope"
    with pytest.raises(InputError, match=r"^encoder 'data/models/nope' cannot be loaded"):
        embed.encode(["x"], type(tiny).model_validate(raw))


def test_damaged_cache_is_named(tmp_path):
    encode_cached(["a"], "model", Counter(), tmp_path)
    file = tmp_path / "cache.db"
    file.write_bytes(b"not a database" * 100)
    with pytest.raises(InputError, match=r"the embedding cache .* is damaged .*: delete the folder"):
        encode_cached(["a"], "model", Counter(), tmp_path)


# --- PCA and the stage ---


def test_pca_keeps_distances_and_orders_directions_by_variance():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 10)) + 5  # rank 3
    reduced = reduce(x, 4)
    distances = [np.linalg.norm(m[:, None] - m[None], axis=-1) for m in (x, reduced)]
    np.testing.assert_allclose(*distances, atol=1e-4)
    np.testing.assert_allclose(reduced.mean(0), 0, atol=1e-5)
    assert (np.diff(reduced.var(0)) < 0).all()
    assert reduced.dtype == np.float32


def test_pca_of_few_items_is_padded_and_nonsense_is_named():
    assert reduce(np.eye(3), 8).shape == (3, 8)
    assert (reduce(np.eye(3), 8)[:, 3:] == 0).all()
    with pytest.raises(InputError, match=r"item embeddings are not finite"):
        reduce(np.array([[np.nan, 1.0], [0.0, 1.0]]), 1)


def test_stage_writes_what_it_returns(data, tiny):
    found = embed.run(tiny, data)
    again = embed.load("tiny")
    for name in ("items", "initial", "users"):
        np.testing.assert_array_equal(getattr(found, name), getattr(again, name))
    assert found.items.shape == (49, 384)
    assert found.users.shape == (90, 384)
    assert (found.items[0] == 0).all()
    assert (found.initial[0] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(found.items[1:], axis=1), 1, atol=1e-5)
    tent = data.titles.index("Two-person dome tent")
    assert nearest_items(found.items, data, tent, 1)["title"][0] == "Two-person dome tent"


def test_missing_and_damaged_embeddings_are_named(data, embeddings):
    with pytest.raises(InputError, match=r"embeddings.safetensors is missing: run `dvc repro embed` first"):
        embed.load("tiny")
    file = artifact("tiny", "embed") / "embeddings.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{half")
    with pytest.raises(InputError, match=r"embeddings.safetensors is damaged .* delete it and run `dvc repro embed`"):
        embed.load("tiny")


def test_throughput_counts_what_comes_after_the_first_batch(tiny, data, monkeypatch):
    clock = iter([10.0, 11.0, 14.0])  # the first batch comes when the model is loaded
    monkeypatch.setattr(embed, "in_batches", lambda texts, settings: ((list(range(n)), None) for n in (4, 2, 6)))
    monkeypatch.setattr(look.time, "perf_counter", lambda: next(clock))
    assert look.throughput(tiny, data) == (2 + 6) / 4
    monkeypatch.setattr(embed, "in_batches", lambda texts, settings: iter([([0], None)]))
    monkeypatch.setattr(look.time, "perf_counter", lambda: 0.0)
    with pytest.raises(ValueError, match="one batch"):
        look.throughput(tiny, data)


def test_models_lie_where_the_settings_say():
    for encoder in load().embed.encoders.values():
        if isinstance(encoder, LocalEncoder):
            assert (ROOT / encoder.model).is_dir()
