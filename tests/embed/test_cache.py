"""The embedding cache: only what is missing is encoded, a killed encoder goes on, damage is named."""

import numpy as np
import pytest
from diskcache import Cache
from helpers import kill_when
from llmesr.embed.cache import _key, encode_cached
from llmesr.errors import InputError
from llmesr.paths import embedding_cache


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


def test_damaged_cache_is_named(tmp_path):
    encode_cached(["a"], "model", Counter(), tmp_path)
    file = tmp_path / "cache.db"
    file.write_bytes(b"not a database" * 100)
    with pytest.raises(InputError, match=r"the embedding cache .* is damaged .*: rename the folder"):
        encode_cached(["a"], "model", Counter(), tmp_path)


POISON = {
    "empty": b"",
    "no whole numbers": b"abc",
    "not bytes": "text",
    "not finite": np.array([np.nan, 1], np.float32).tobytes(),
    "zeros": np.zeros(2, np.float32).tobytes(),
    "of another width": np.ones(3, np.float32).tobytes(),
}


@pytest.mark.parametrize("kind", POISON)
def test_what_cannot_be_an_embedding_is_encoded_anew(tmp_path, kind):
    whole = encode_cached(["a", "bb", "ccc"], "model", Counter(), tmp_path)
    with Cache(str(tmp_path)) as cache:
        cache.set(_key("model", "bb"), POISON[kind])
    again, afterwards = Counter(), Counter()
    assert (encode_cached(["a", "bb", "ccc"], "model", again, tmp_path) == whole).all()
    assert (encode_cached(["a", "bb", "ccc"], "model", afterwards, tmp_path) == whole).all()
    assert (again.asked, afterwards.asked) == (["bb"], [])


@pytest.mark.parametrize("kept", [["a", "bb"], ["another dataset's"]])
def test_vectors_of_another_width_than_the_kept_ones_are_refused_and_not_kept(tmp_path, kept):
    encode_cached(kept, "model", Counter(), tmp_path)

    def wider(texts):
        yield list(range(len(texts))), np.ones((len(texts), 3))

    with pytest.raises(InputError, match=r"'mine' gave vectors of 3 numbers, but those kept of it have 2: .*revision"):
        encode_cached(["a", "bb", "ccc"], "model", wider, tmp_path, "mine")
    assert encode_cached(["a", "bb", "ccc"], "model", Counter(), tmp_path).shape == (3, 2)
    assert encode_cached(["a"], "model revised", wider, tmp_path).shape == (1, 3)


def test_vectors_whose_width_changes_on_the_way_are_refused(tmp_path):
    def encode(texts):
        for i in range(len(texts)):
            yield [i], np.ones((1, 2 + i))

    with pytest.raises(InputError, match=r"gave vectors of 3 numbers, but those kept of it have 2"):
        encode_cached(["a", "b"], "model", encode, tmp_path)


def test_an_encoders_own_error_is_not_taken_for_a_damaged_cache(tmp_path):
    def encode(texts):
        raise InputError("the encoder cannot be loaded")
        yield

    with pytest.raises(InputError, match=r"^the encoder cannot be loaded$"):
        encode_cached(["x"], "model", encode, tmp_path)


ENCODE = """
import time
import numpy as np
from llmesr.embed.cache import encode_cached
def encode(texts):
    for i, text in enumerate(texts):
        time.sleep(0.01)
        yield [i], np.full((1, 4), float(text) + 1, dtype=np.float32)
encode_cached([str(i) for i in range(400)], "mine", encode, paths.embedding_cache())
"""


@pytest.mark.slow
def test_a_killed_encoder_goes_on(tiny, shell):
    with Cache(str(embedding_cache())) as cache:
        kill_when(shell(tiny, ENCODE), lambda: len(cache) >= 20)
        kept = len(cache) - 1  # beside the vectors it keeps their width
    asked = []

    def encode(texts):
        asked.extend(texts)
        yield list(range(len(texts))), np.array([[float(text) + 1] * 4 for text in texts], dtype=np.float32)

    found = encode_cached([str(i) for i in range(400)], "mine", encode, embedding_cache())
    assert (found == np.arange(1, 401)[:, None]).all()
    assert 0 < len(asked) == 400 - kept


@pytest.mark.slow
def test_a_cache_on_a_full_disk_is_named(tiny, shell):
    code = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
    printed, _ = shell(tiny, code + ENCODE.replace("(1, 4)", "(1, 4000)")).communicate(timeout=120)
    assert "InputError: the embedding cache runs/embedding-cache cannot be written (" in printed
