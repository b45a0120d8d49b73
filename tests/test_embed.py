"""Stage 02: prompts, encoders, the cache, PCA."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import polars as pl
import pytest
import torch
from conftest import ROOT, changed
from llmesr import embed
from llmesr.embed import api_encoder, local_encoder
from llmesr.embed.cache import encode_cached
from llmesr.embed.local_encoder import _batches, pool
from llmesr.embed.look import nearest_items
from llmesr.embed.prompts import item_prompts, plain_text, user_prompts
from llmesr.embed.reduce import reduce
from llmesr.errors import InputError
from llmesr.paths import artifact
from llmesr.prepare.dataset import Sequences
from llmesr.settings import ApiEncoder, LocalEncoder, load

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


# --- local encoders ---


def test_pooling_by_hand():
    states = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]], [[5.0, 6.0], [7.0, 8.0], [9.0, 0.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert pool(states, mask, "mean").tolist() == [[2, 3], [7, pytest.approx(14 / 3)]]
    assert pool(states, mask, "last").tolist() == [[3, 4], [9, 0]]
    assert pool(states, mask, "cls").tolist() == [[1, 2], [5, 6]]


def test_batches_hold_everything_once_within_the_budget():
    lengths = np.random.default_rng(0).integers(1, 60, 200).tolist()
    batches = _batches(lengths, 256)
    assert sorted(i for batch in batches for i in batch) == list(range(200))
    assert all(max(lengths[i] for i in batch) * len(batch) <= 256 for batch in batches)
    assert _batches([500], 256) == [[0]]  # one that is longer than the budget still gets its turn


def encode_all(texts, encoder, batch_tokens=4096):
    rows = {}
    for batch, vectors in local_encoder.encode(texts, encoder, batch_tokens):
        rows.update(zip(batch, vectors, strict=True))
    return np.stack([rows[i] for i in range(len(texts))])


TEXTS = ["a tent for two", "camping tent, two persons", "espresso machine", "a much longer text " * 12]


def test_minilm_knows_what_is_similar_and_does_not_depend_on_the_batch():
    encoder = load().embed.encoders["minilm"].model_copy(update={"dtype": "float32"})
    vectors = encode_all(TEXTS, encoder)
    assert vectors.shape == (4, 384)
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(encode_all([text], encoder)[0], vector, atol=1e-5)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > 0.7 > 0.3 > unit[0] @ unit[2]


def test_smollm2_reads_its_gguf_weights():
    encoder = load().embed.encoders["smollm2"]
    vectors = encode_all(TEXTS[:3], encoder)
    assert vectors.shape == (3, 576)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2]


def test_encoder_that_cannot_be_found_is_named(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    encoder = LocalEncoder(
        kind="transformers", model="data/models/nope", gguf_file=None, pooling="mean", max_tokens=9, dtype="auto"
    )
    with pytest.raises(InputError, match=r"encoder 'data/models/nope' cannot be loaded .*run `make data`"):
        encode_all(["x"], encoder)


# --- an OpenAI-compatible endpoint ---


class Endpoint(BaseHTTPRequestHandler):
    """Answers embeddings of (length of the text, 1); fails first, as often as it is told."""

    failures: ClassVar[list[int]] = []
    requests: ClassVar[list[dict]] = []
    drop = 0

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append({"path": self.path, "key": self.headers["Authorization"], **body})
        if self.failures:
            self.send_response(self.failures.pop(0))
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            return
        rows = [{"object": "embedding", "index": i, "embedding": [len(t), 1]} for i, t in enumerate(body["input"])]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        rows = rows[::-1][self.drop :]  # any order is allowed
        answer = json.dumps({"object": "list", "data": rows, "model": body["model"], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(Endpoint, "failures", [])
    monkeypatch.setattr(Endpoint, "requests", [])
    monkeypatch.setattr(Endpoint, "drop", 0)
    monkeypatch.setenv("TEST_KEY", "secret")
    yield ApiEncoder(
        kind="api",
        model="some-model",
        base_url=f"http://127.0.0.1:{server.server_port}/v1",
        key_variable="TEST_KEY",
        batch_size=2,
        retries=2,
        timeout_seconds=10.0,
    )
    server.shutdown()
    server.server_close()


def test_endpoint_is_asked_in_batches_and_again_after_a_failure(endpoint):
    Endpoint.failures[:] = [429, 503]
    found = list(api_encoder.encode(["a", "bb", "ccc"], endpoint))
    assert [(batch, vectors.tolist()) for batch, vectors in found] == [([0, 1], [[1, 1], [2, 1]]), ([2], [[3, 1]])]
    assert [request["input"] for request in Endpoint.requests] == [["a", "bb"]] * 3 + [["ccc"]]
    assert Endpoint.requests[0]["path"] == "/v1/embeddings"
    assert Endpoint.requests[0]["key"] == "Bearer secret"


def test_endpoint_that_keeps_failing_or_answers_too_little_is_named(endpoint, monkeypatch):
    Endpoint.failures[:] = [500] * 9
    with pytest.raises(InputError, match=r"encoder at http://127.0.0.1:\d+/v1 failed"):
        list(api_encoder.encode(["a"], endpoint))
    assert len(Endpoint.requests) == 3
    Endpoint.failures[:] = []
    monkeypatch.setattr(Endpoint, "drop", 1)
    with pytest.raises(InputError, match=r"gave 1 vectors for 2 texts"):
        list(api_encoder.encode(["a", "b"], endpoint))


def test_missing_key_is_named(endpoint, monkeypatch):
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(InputError, match=r"environment variable TEST_KEY is not set"):
        list(api_encoder.encode(["a"], endpoint))


def test_endpoint_serves_a_whole_stage(endpoint, data, tiny):
    raw = changed(tiny).model_dump(by_alias=True)
    raw["embed"]["encoders"]["mine"] = endpoint.model_dump()
    raw["embed"].update(encoder="mine", normalize=False)
    found = embed.run(type(tiny).model_validate(raw), data)
    assert found.items.shape == (49, 2)
    lengths = [len(text) for text in embed.prompts(data, tiny)[0]]
    assert found.items[1:, 0].tolist() == lengths


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


def test_models_lie_where_the_settings_say():
    for encoder in load().embed.encoders.values():
        if isinstance(encoder, LocalEncoder):
            assert (ROOT / encoder.model).is_dir()
