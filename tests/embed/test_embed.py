"""Stage 02 as a whole: prompts to vectors, past or through the cache, and what it writes."""

from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, D
from llmesr import embed
from llmesr.embed.reduce import reduce
from llmesr.errors import InputError
from llmesr.paths import artifact
from llmesr.settings import LocalEncoder, load
from llmesr.tools import fetch


@pytest.fixture
def letters(monkeypatch):
    """An encoder that counts letters, and the texts that it is asked for."""
    asked = []

    def encode(texts, settings):
        asked.extend(texts)
        yield list(range(len(texts))), np.array([[len(text), text.count("e"), 1.0] for text in texts])

    monkeypatch.setattr(embed, "in_batches", encode)
    monkeypatch.setattr(embed, "identity", lambda settings: "letters")
    return asked


def test_the_stage_writes_what_it_returns(data, tiny, letters):
    found, again = embed.run(tiny, data), embed.load("tiny")
    for name in ("items", "pca", "users"):
        np.testing.assert_array_equal(getattr(found, name), getattr(again, name))
    assert found.items.shape == (49, 3)
    assert found.users.shape == (90, 3)
    assert not found.items[0].any()
    np.testing.assert_allclose(np.linalg.norm(found.items[1:], axis=1), 1, atol=1e-5)
    assert not found.pca[0].any()
    np.testing.assert_array_equal(found.pca[1:], reduce(found.items[1:], D))


def test_vectors_are_those_of_the_prompts_each_encoded_once(data, tiny, letters):
    items, users = embed.prompts(data, tiny)
    found = embed.make(tiny.changed({"embed.normalize": False}), data)
    assert found.items[1:, 0].tolist() == [len(text) for text in items]
    assert found.users[:, 0].tolist() == [len(text) for text in users]
    assert len(letters) == len({*items, *users})
    embed.make(tiny, data)
    assert len(letters) == len({*items, *users})
    embed.encode(items, tiny, cached=False)
    assert len(letters) == len({*items, *users}) + len({*items})


def test_an_encoder_that_is_tuned_is_for_experiments(data, tiny):
    with pytest.raises(InputError, match=r"key 'embed.lora.epochs' is for experiments: set it to 0, and 'adapter'"):
        embed.run(tiny.changed({"embed.lora.epochs": 1}), data)


@pytest.mark.slow
def test_the_language_model_gives_unit_vectors_of_its_width(data, tiny):
    model = str(ROOT / tiny.embed.encoders["minilm"].model)
    tiny = tiny.changed({"embed.encoders.minilm.model": model})
    found = embed.run(tiny, data)
    again = embed.load("tiny")
    for name in ("items", "pca", "users"):
        np.testing.assert_array_equal(getattr(found, name), getattr(again, name))
    assert found.items.shape == (49, 384)
    assert found.users.shape == (90, 384)
    assert (found.items[0] == 0).all()
    assert (found.pca[0] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(found.items[1:], axis=1), 1, atol=1e-5)


def test_missing_and_damaged_embeddings_are_named(data, embeddings):
    with pytest.raises(InputError, match=r"embeddings.safetensors is missing: run `dvc repro embed` first"):
        embed.load("tiny")
    file = artifact("tiny", "embed") / "embeddings.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{half")
    with pytest.raises(InputError, match=r"embeddings.safetensors is damaged .* delete it and run `dvc repro embed`"):
        embed.load("tiny")


def test_models_lie_where_the_settings_say():
    """Those that `make data` brings are there, and the large one is where its own command puts it."""
    local = {e.model for e in load(ROOT / "params.yaml").embed.encoders.values() if isinstance(e, LocalEncoder)}
    fetched = {f"data/{Path(member.target).parent}" for member in fetch.MEMBERS if "models" in member.target}
    assert all((ROOT / model).is_dir() for model in fetched)
    assert local == fetched | {f"data/models/{fetch.LARGE[1]}"}


def test_what_an_endpoint_is_known_by(tiny):
    def identity(**changes):
        own = {"kind": "api", "model": "m", "base_url": "http://a/v1", **changes}
        return embed.identity(tiny.changed({"embed.encoders.mine": own, "embed.encoder": "mine"}))

    ways = [identity(), identity(model="n"), identity(base_url="http://b/v1"), identity(revision="r")]
    assert len(set(ways)) == 4
    assert identity(batch_size=3) == identity()


def test_settings_shorten_prompts(data, tiny):
    items, users = embed.prompts(data, tiny)
    short, few = embed.prompts(data, tiny.changed({"embed.attribute_characters": 5, "embed.history_items": 1}))
    assert all(len(one) < len(other) for one, other in zip(short, items, strict=True))
    titles = [title for title in data.titles if title]
    longest = int(data.train.lengths.argmax())
    assert sum(title in users[longest] for title in titles) > 1
    assert sum(title in few[longest] for title in titles) == 1
