"""Stage 02's encoders: language models run here, and endpoints; a damaged or odd one is named."""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from helpers import ROOT
from llmesr import embed
from llmesr.embed import api_encoder, local_encoder
from llmesr.embed.local_encoder import _batches, pool
from llmesr.errors import InputError
from llmesr.settings import ApiEncoder, LocalEncoder, load

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
    for batch, vectors in local_encoder.encode(texts, encoder, batch_tokens, "mine"):
        rows.update(zip(batch, vectors, strict=True))
    return np.stack([rows[i] for i in range(len(texts))])


TEXTS = ["a tent for two", "camping tent, two persons", "espresso machine", "a much longer text " * 12]


@pytest.mark.slow
def test_minilm_knows_what_is_similar_and_does_not_depend_on_the_batch():
    encoder = load(ROOT / "params.yaml").embed.encoders["minilm"].model_copy(update={"dtype": "float32"})
    vectors = encode_all(TEXTS, encoder)
    assert vectors.shape == (4, 384)
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(encode_all([text], encoder)[0], vector, atol=1e-5)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > 0.7 > 0.3 > unit[0] @ unit[2]


@pytest.mark.slow
def test_smollm2_reads_its_gguf_weights():
    encoder = load(ROOT / "params.yaml").embed.encoders["smollm2"]
    vectors = encode_all(TEXTS[:3], encoder)
    assert vectors.shape == (3, 576)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2]


def test_encoder_that_cannot_be_found_is_named(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    encoder = LocalEncoder(model="data/models/nope")
    with pytest.raises(InputError, match=r"encoder 'data/models/nope' cannot be loaded .*run `make data`"):
        encode_all(["x"], encoder)


@pytest.fixture
def copied(tmp_path):
    """Copy an encoder's folder, with one of its files cut to a share or changed."""

    def copy(name, file=None, change=None):
        encoder = load(ROOT / "params.yaml").embed.encoders[name]
        folder = shutil.copytree(ROOT / encoder.model, tmp_path / name, copy_function=shutil.copyfile)
        if file:
            (folder / file).write_bytes(change((folder / file).read_bytes()))
        return encoder.model_copy(update={"model": str(folder)})

    return copy


def half(content):
    return content[: len(content) // 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file", "change"),
    [
        ("minilm", "model.safetensors", half),
        ("minilm", "tokenizer.json", half),
        ("minilm", "config.json", half),
        ("smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", half),
        ("smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", lambda content: content[:1000]),
    ],
)
def test_damaged_model_is_named(copied, name, file, change):
    with pytest.raises(InputError, match=rf"^encoder '\S+{name}' cannot be loaded \([^\n]+\): run `make data`[^\n]+$"):
        encode_all(["x"], copied(name, file, change))


@pytest.mark.slow
def test_longer_texts_than_the_model_reads_are_refused():
    encoder = load(ROOT / "params.yaml").embed.encoders["minilm"]
    assert encode_all(["x"], encoder.model_copy(update={"max_tokens": 512})).shape == (1, 384)
    with pytest.raises(InputError, match=r"'embed.encoders.mine.max_tokens' is 513, but .* reads 512 tokens at most"):
        encode_all(["x"], encoder.model_copy(update={"max_tokens": 513}))


@pytest.mark.slow
def test_local_vectors_that_are_not_finite_are_named(monkeypatch):
    monkeypatch.setattr(local_encoder, "pool", lambda states, *_: states.float()[:, 0] / 0)
    with pytest.raises(InputError, match=r"all-MiniLM-L6-v2' gave vectors that are not finite: .*mine.dtype' to float"):
        encode_all(["x"], load(ROOT / "params.yaml").embed.encoders["minilm"])


def test_auto_is_resolved_before_it_is_remembered(monkeypatch):
    encoder = load(ROOT / "params.yaml").embed.encoders["minilm"].model_copy(update={"dtype": "auto"})
    found = {}
    for fast in (True, False):
        monkeypatch.setattr(local_encoder, "computes_bfloat16", lambda device, fast=fast: fast)
        found[local_encoder.dtype(encoder)] = local_encoder.identity(encoder)
    assert set(found) == {"bfloat16", "float32"}
    for name, identity in found.items():
        assert identity == local_encoder.identity(encoder.model_copy(update={"dtype": name}))
    assert found["bfloat16"] != found["float32"]


def test_a_model_is_known_by_its_content(copied, tmp_path):
    encoder = copied("minilm", "model.safetensors", lambda content: content[:100])
    first = local_encoder.identity(encoder)
    moved = encoder.model_copy(update={"model": str(shutil.move(encoder.model, tmp_path / "moved"))})
    assert local_encoder.identity(moved) == first
    (tmp_path / "moved" / "README.md").write_text("no part of the model")
    assert local_encoder.identity(moved) == first
    (tmp_path / "moved" / "model.safetensors").write_bytes(b"other weights")
    assert local_encoder.identity(moved) != first
    elsewhere = encoder.model_copy(update={"model": "somebody/some-model"})
    assert "somebody/some-model" in local_encoder.identity(elsewhere)


def test_other_weights_under_the_same_name_are_encoded_anew(copied, data, tiny, monkeypatch):
    asked = []

    def fake(texts, **_):
        asked.append(list(texts))
        yield list(range(len(texts))), np.ones((len(texts), 3))

    monkeypatch.setattr(local_encoder, "encode", fake)
    encoder = copied("minilm", "model.safetensors", lambda content: content[:100])
    settings = tiny.changed({"embed.encoders.minilm.model": encoder.model})
    for weights, calls in ((b"one", 1), (b"one", 1), (b"other", 2)):
        (Path(encoder.model) / "model.safetensors").write_bytes(weights)
        embed.encode(["x"], settings)
        assert len(asked) == calls


# --- an OpenAI-compatible endpoint ---


class Endpoint(BaseHTTPRequestHandler):
    """Answers embeddings of (length of the text, 1); fails first, as often as it is told."""

    failures: ClassVar[list[int]] = []
    body: bytes | None = None
    content_type = "application/json"
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
        answer = answer if self.body is None else self.body
        self.send_response(200)
        self.send_header("Content-Type", self.content_type)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
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


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/html", b"<html>Welcome</html>"),
        ("application/json", b"<html>Welcome</html>"),
        ("application/json", b'{"data": [{"index": 0'),
        ("application/json", b"{}"),
        ("application/json", b"[1]"),
        ("application/json", b'{"data": [{"embedding": [1]}, {"embedding": [1]}]}'),
        ("application/json", b'{"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1, 2]}]}'),
    ],
)
def test_endpoint_that_answers_something_else_is_named(endpoint, monkeypatch, content_type, body):
    monkeypatch.setattr(Endpoint, "content_type", content_type)
    monkeypatch.setattr(Endpoint, "body", body)
    with pytest.raises(InputError, match=r"at http://127.0.0.1:\d+/v1 answers, but not with .*: check 'base_url'"):
        list(api_encoder.encode(["a", "b"], endpoint))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"data": []}', r"gave 0 vectors for 1 texts: check 'base_url'"),
        (b'{"data": [{"index": 0, "embedding": null}]}', r"gave vectors that are not finite"),
        (b'{"data": [{"index": 0, "embedding": [1, NaN]}]}', r"gave vectors that are not finite"),
    ],
)
def test_endpoint_that_gives_no_data_or_nonsense_is_named(endpoint, monkeypatch, body, message):
    monkeypatch.setattr(Endpoint, "body", body)
    with pytest.raises(InputError, match=rf"encoder at http://127.0.0.1:\d+/v1 {message}"):
        list(api_encoder.encode(["a"], endpoint))


def test_missing_key_is_named(endpoint, monkeypatch):
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(InputError, match=r"environment variable TEST_KEY is not set"):
        list(api_encoder.encode(["a"], endpoint))


def test_endpoint_serves_a_whole_stage(endpoint, data, tiny):
    mine = {"embed.encoders.mine": endpoint.model_dump(), "embed.encoder": "mine", "embed.normalize": False}
    found = embed.run(tiny.changed(mine), data)
    assert found.items.shape == (49, 2)
    lengths = [len(text) for text in embed.prompts(data, tiny)[0]]
    assert found.items[1:, 0].tolist() == lengths
