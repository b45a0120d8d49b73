"""Stage 02's encoders: language models run here, and endpoints; a damaged or odd one is named."""

import json
import shutil
import socket
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from helpers import ROOT, serving
from llmesr import embed
from llmesr.embed import api_encoder, local_encoder
from llmesr.embed.local_encoder import _batches, pool
from llmesr.errors import InputError
from llmesr.settings import ApiEncoder, LocalEncoder, load
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

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


@pytest.fixture
def letters(tmp_path):
    """A random model of 16 tokens at most, which reads letters: a token each."""
    vocabulary = {
        token: number for number, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdef"])
    }
    words = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=16, **special).save_pretrained(tmp_path)
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=16, **sizes)).save_pretrained(tmp_path)
    return LocalEncoder(model=str(tmp_path), dtype="float32", max_tokens=4)


def test_of_a_long_text_as_much_is_read_as_the_settings_say(letters):
    long, cut, short = encode_all(["a b c d e f", "a b c d", "a b c"], letters)
    np.testing.assert_allclose(long, cut, atol=1e-6)
    assert np.abs(long - short).max() > 1e-3
    whole, other = encode_all(["a b c d e f", "a b c d"], letters.model_copy(update={"max_tokens": 16}))
    assert np.abs(whole - other).max() > 1e-3


def test_encoder_that_cannot_be_found_is_named():
    encoder = LocalEncoder(model="data/models/nope")
    with pytest.raises(InputError, match=r"encoder 'data/models/nope' cannot be loaded .*run `make data`"):
        encode_all(["x"], encoder)


@pytest.mark.parametrize(
    ("most", "said"), [(8, "1 of 3 texts reach 8 tokens"), (6, "2 of 3 texts reach 6 tokens"), (16, None)]
)
def test_texts_that_are_cut_are_counted(letters, capsys, most, said):
    encode_all(["a b c d e f", "a b c d e f a b c", "a"], letters.model_copy(update={"max_tokens": most}))
    err = capsys.readouterr().err
    assert (f"{said}, and what comes after is not read" in err) if said else ("tokens" not in err)


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


def test_a_gguf_model_is_known_by_the_content_of_its_own_file(tmp_path):
    encoder = LocalEncoder(model=str(tmp_path), gguf_file="mine.gguf", dtype="float32")
    found = []
    for content in (b"one", b"two"):
        (tmp_path / "mine.gguf").write_bytes(content)
        found.append(local_encoder.identity(encoder))
    assert found[0] != found[1]
    (tmp_path / "another.gguf").write_bytes(b"of another precision")
    assert local_encoder.identity(encoder) == found[1]


def test_an_adapter_is_known_by_its_content_wherever_it_lies(tmp_path):
    def identity(name, content):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "adapter_model.safetensors").write_bytes(content)
        return local_encoder.identity(plain.model_copy(update={"adapter": str(tmp_path / name)}))

    plain = LocalEncoder(model="somebody/some-model", dtype="float32")
    one, two = identity("here", b"one"), identity("here", b"two")
    assert len({one, two, local_encoder.identity(plain)}) == 3
    assert identity("there", b"one") == one


def test_how_much_an_adapter_weighs_is_part_of_what_it_is_known_by(tmp_path):
    """What its weights are multiplied by, `lora_alpha` over the rank, stands in its settings beside them."""
    encoder, found = LocalEncoder(model="somebody/some-model", dtype="float32", adapter=str(tmp_path)), set()
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    for alpha in (8, 16):
        (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8, "lora_alpha": alpha}))
        found.add(local_encoder.identity(encoder))
    assert len(found) == 2


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
    status = 200
    delay = 0.0

    def do_POST(self):
        time.sleep(self.delay)
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
        self.send_response(self.status)
        self.send_header("Content-Type", self.content_type)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint(monkeypatch):
    monkeypatch.setattr(Endpoint, "failures", [])
    monkeypatch.setattr(Endpoint, "requests", [])
    monkeypatch.setattr(Endpoint, "drop", 0)
    monkeypatch.setenv("TEST_KEY", "secret")
    with serving(Endpoint) as address:
        yield ApiEncoder(
            kind="api",
            model="some-model",
            base_url=f"{address}/v1",
            key_variable="TEST_KEY",
            batch_size=2,
            retries=2,
            timeout_seconds=10.0,
        )


def test_endpoint_is_asked_in_batches_and_again_after_a_failure(endpoint):
    Endpoint.failures[:] = [429, 503]
    found = list(api_encoder.encode(["a", "bb", "ccc"], endpoint))
    assert [(batch, vectors.tolist()) for batch, vectors in found] == [([0, 1], [[1, 1], [2, 1]]), ([2], [[3, 1]])]
    assert [request["input"] for request in Endpoint.requests] == [["a", "bb"]] * 3 + [["ccc"]]
    assert Endpoint.requests[0]["path"] == "/v1/embeddings"
    assert Endpoint.requests[0]["key"] == "Bearer secret"


def test_endpoint_that_keeps_failing_or_answers_too_little_is_named(endpoint, monkeypatch):
    Endpoint.failures[:] = [500] * 9
    with pytest.raises(InputError, match=r"'some-model' at http://127.0.0.1:\d+/v1 failed with status 500: nothing"):
        list(api_encoder.encode(["a"], endpoint))
    assert len(Endpoint.requests) == 3
    Endpoint.failures[:] = []
    monkeypatch.setattr(Endpoint, "drop", 1)
    with pytest.raises(InputError, match=r"gave 1 vectors for 2 texts"):
        list(api_encoder.encode(["a", "b"], endpoint))


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, b'{"error": {"message": "Incorrect API key provided"}}', r"status 401: '.*Incorrect API key provided"),
        (404, b'{"detail": "model not found, try pulling it first"}', r"status 404: '.*try pulling it first"),
        (400, b"the input is too long", r"status 400: 'the input is too long'"),
        (
            403,
            b"<html>\n<h1>Forbidden</h1> by the proxy</html>",
            r"status 403: '<html> <h1>Forbidden</h1> by the proxy",
        ),
        (413, b"x" * 5000, r"status 413: 'x{300}…'$"),
    ],
)
def test_a_servers_reason_is_told_whatever_its_form(endpoint, monkeypatch, status, body, said):
    monkeypatch.setattr(Endpoint, "status", status)
    monkeypatch.setattr(Endpoint, "body", body)
    with pytest.raises(InputError, match=said):
        list(api_encoder.encode(["a"], endpoint))
    assert len(Endpoint.requests) == 1


def rows(*pairs):
    return json.dumps({"data": [{"index": index, "embedding": vector} for index, vector in pairs]}).encode()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"<html>Welcome</html>", "answers, but not with embeddings; it said: '<html>Welcome</html>'"),
        (b"", "answers, but not with embeddings; it said: nothing"),
        (b'{"data": [{"index": 0', "answers, but not with embeddings"),
        (b"{}", "answers, but not with embeddings"),
        (b"[1]", "answers, but not with embeddings"),
        (b'"embeddings"', "answers, but not with embeddings"),
        (b'{"data": null}', "answers, but not with embeddings"),
        (b'{"data": {"0": [1]}}', "answers, but not with embeddings"),
        (b'{"data": ["a", "b"]}', "answers, but not with embeddings"),
        (b'{"error": "the model is loading"}', "answers, but not with embeddings; it said: .*the model is loading"),
        (rows((0.5, [1]), (1, [1])), "answers, but not with embeddings"),
        (rows(("a", [1]), ("b", [1])), "answers, but not with embeddings"),
        (b'{"data": []}', "gave 0 vectors for 2 texts"),
        (rows((0, [1])), "gave 1 vectors for 2 texts"),
        (rows((0, [1]), (1, [1]), (2, [1])), "gave 3 vectors for 2 texts"),
        (rows((0, [1]), (0, [1])), r"numbered the vectors of 2 texts '\[0, 0\]'"),
        (rows((1, [1]), (2, [1])), r"numbered the vectors of 2 texts '\[1, 2\]'"),
        (rows((0, [1]), (-1, [1])), r"numbered the vectors of 2 texts '\[0, -1\]'"),
        (rows((0, [1]), (1, [1, 2])), "gave vectors of unequal length"),
        (rows((0, [1]), (1, "AACAPw==")), "gave vectors of unequal length, or not of numbers"),
        (rows((0, [1]), (1, None)), "gave vectors of unequal length, or not of numbers"),
        (rows((0, []), (1, [])), "gave empty vectors"),
        (rows((0, 1), (1, 2)), "gave empty vectors, or not one vector a text"),
        (rows((0, [[1, 2]]), (1, [[3, 4]])), "gave empty vectors, or not one vector a text"),
        (rows((0, [1, 2]), (1, [1, float("nan")])), "gave vectors that are not finite"),
        (rows((0, [1, 2]), (1, [1, 1e300])), "gave vectors that are not finite"),
        (rows((0, [1, 2]), (1, [None, None])), "gave vectors"),
        (rows((0, [1, 2]), (1, [0, 0])), "gave vectors of nothing but zeros"),
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "text/html"])
def test_a_wrong_answer_is_named_and_not_kept(root, tiny, endpoint, monkeypatch, content_type, body, problem):
    monkeypatch.setattr(Endpoint, "content_type", content_type)
    monkeypatch.setattr(Endpoint, "body", body)
    mine = tiny.changed(
        {"embed.encoders.mine": endpoint.model_dump(), "embed.encoder": "mine", "embed.normalize": False}
    )
    with pytest.raises(InputError, match=rf"'some-model' at http://127.0.0.1:\d+/v1 {problem}.*: check 'base_url'"):
        embed.encode(["a", "bb"], mine)
    monkeypatch.setattr(Endpoint, "body", None)  # the server is mended
    assert embed.encode(["a", "bb"], mine).tolist() == [[1, 1], [2, 1]]


@pytest.mark.parametrize("kind", ["texts", "reversed texts", "none"])
def test_answers_are_put_in_order_whatever_form_their_numbers_have(endpoint, monkeypatch, kind):
    n = 14  # "10" comes before "2"
    pairs = [(str(i) if "texts" in kind else None, [i + 1, 1]) for i in range(n)]
    monkeypatch.setattr(Endpoint, "body", rows(*(pairs[::-1] if kind == "reversed texts" else pairs)))
    ((batch, vectors),) = api_encoder.encode(["x"] * n, endpoint.model_copy(update={"batch_size": n}))
    assert batch == list(range(n))
    assert vectors[:, 0].tolist() == list(range(1, n + 1))


@pytest.mark.parametrize("key", [None, "", "  ", "\r\n"])
def test_a_missing_key_is_named(endpoint, monkeypatch, key):
    monkeypatch.delenv("TEST_KEY") if key is None else monkeypatch.setenv("TEST_KEY", key)
    with pytest.raises(InputError, match=r"environment variable TEST_KEY is not set"):
        list(api_encoder.encode(["a"], endpoint))
    assert not Endpoint.requests


@pytest.mark.parametrize("key", ["“abc”", '"abc"', "'abc'", "a b", "schlüssel", "abc\x07", "a\nb", "abc\u200b"])
def test_a_key_that_cannot_be_one_is_named_before_it_is_used(endpoint, monkeypatch, key):
    monkeypatch.setenv("TEST_KEY", key)
    with pytest.raises(InputError, match=r"variable TEST_KEY holds the character .*without quotes or blanks") as found:
        list(api_encoder.encode(["a"], endpoint))
    assert key not in str(found.value)  # a key is no reader's business
    assert not Endpoint.requests


def test_line_ends_around_a_key_are_no_part_of_it(endpoint, monkeypatch):
    monkeypatch.setenv("TEST_KEY", " secret\r\n")
    list(api_encoder.encode(["a"], endpoint))
    assert Endpoint.requests[0]["key"] == "Bearer secret"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:8000/v1", r"is 'localhost:8000/v1', which is no address: write it like http://localhost:8000/v1"),
        ("127.0.0.1:8000", "which is no address"),
        ("", "which is no address"),
        ("ftp://example.org/v1", "which is no address"),
        ("http:///v1", "which is no address"),
        ("http://local host/v1", "which is no address"),
        ("http://localhost:port/v1", "which is no address"),
        ("http://[::1/v1", "which is no address"),
        ("http://localhost:8000/v1/embeddings", "leave out /embeddings"),
        ("http://localhost:8000/v1/embeddings/", "leave out /embeddings"),
    ],
)
def test_an_address_that_cannot_be_one_is_named_before_it_is_used(endpoint, url, message):
    with pytest.raises(InputError, match=rf"'base_url' in 'embed.encoders' .*{message}"):
        list(api_encoder.encode(["a"], endpoint.model_copy(update={"base_url": url, "retries": 6})))


def test_the_cause_of_a_connection_error_is_told(endpoint):
    with socket.socket() as free:  # nobody listens there
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(InputError, match=r"cannot be reached \(.*[Rr]efused.*\): check 'base_url'"):
            list(api_encoder.encode(["a"], endpoint.model_copy(update={"base_url": url, "retries": 0})))


def test_an_endpoint_that_is_too_slow_is_named(endpoint, monkeypatch):
    monkeypatch.setattr(Endpoint, "delay", 1.0)
    slow = endpoint.model_copy(update={"timeout_seconds": 0.05, "retries": 0})
    with pytest.raises(InputError, match=r"no answer within 0.05 seconds, 1 times: .*'timeout_seconds'"):
        list(api_encoder.encode(["a"], slow))


def test_the_same_vector_for_all_texts_is_refused_and_for_two_may_be_right(endpoint, monkeypatch):
    monkeypatch.setattr(Endpoint, "body", rows((0, [1, 2]), (1, [1, 2]), (2, [1, 2])))
    with pytest.raises(InputError, match="gave the same vector for 3 different texts"):
        list(api_encoder.encode(["a", "b", "c"], endpoint.model_copy(update={"batch_size": 3})))
    monkeypatch.setattr(Endpoint, "body", rows((0, [1, 2]), (1, [1, 2])))
    assert list(api_encoder.encode(["a", "b"], endpoint))


def test_a_revision_is_another_encoder_for_the_cache(root, endpoint, tiny):
    mine = tiny.changed(
        {"embed.encoders.mine": endpoint.model_dump(), "embed.encoder": "mine", "embed.normalize": False}
    )
    for settings in (mine, mine, mine.changed({"embed.encoders.mine.revision": "of May"})):
        embed.encode(["of May"], settings)
    assert [request["input"] for request in Endpoint.requests].count(["of May"]) == 2


def test_endpoint_serves_a_whole_stage(endpoint, data, tiny):
    mine = {"embed.encoders.mine": endpoint.model_dump(), "embed.encoder": "mine", "embed.normalize": False}
    found = embed.run(tiny.changed(mine), data)
    assert found.items.shape == (49, 2)
    lengths = [len(text) for text in embed.prompts(data, tiny)[0]]
    assert found.items[1:, 0].tolist() == lengths
