"""Sections of stage 02: encoders, prompts, the encoder tuned."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from llmesr.section import Count, Positive, Rate, Section


class LocalEncoder(Section):
    """A language model that `transformers` runs here."""

    kind: Literal["transformers"] = "transformers"
    """A model that runs on this machine."""
    model: str
    """A folder, from the project root or absolute, or a model id."""
    gguf_file: str | None = None
    """The weights' file, for a GGUF model."""
    pooling: Literal["mean", "last", "cls"] = "mean"
    """How token states become one vector."""
    max_tokens: Positive = 256
    """Longer texts are cut; no more than the model reads."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto` is bfloat16 where the machine computes in it."""
    adapter: str | None = None
    """The folder of a LoRA, from the project root."""


class ApiEncoder(Section):
    """An OpenAI-compatible embeddings endpoint."""

    kind: Literal["api"]
    """A model that is reached over the network."""
    model: str
    """The model's name there."""
    base_url: str = "https://api.openai.com/v1"
    """The endpoint's address, without /embeddings."""
    revision: str = ""
    """Any word. Change it when the model behind the name has changed: what the cache has is then not used."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key."""
    batch_size: Positive = 64
    """Texts a request."""
    retries: Count = 6
    """Tries after the first, with back-off."""
    timeout_seconds: Rate = 60.0
    """Longest wait for the server to say something, of one request."""


def _kind(encoder: object) -> str | None:
    """Read an encoder's kind: `transformers` where the file names none."""
    if isinstance(encoder, dict):
        return encoder.get("kind", "transformers")
    return getattr(encoder, "kind", None)


Encoder = Annotated[
    Annotated[LocalEncoder, Tag("transformers")] | Annotated[ApiEncoder, Tag("api")],
    Discriminator(
        _kind,
        custom_error_type="encoder_kind",
        custom_error_message="an encoder is a section whose kind is transformers or api",
    ),
]

ENCODERS = {
    "minilm": LocalEncoder(model="data/models/all-MiniLM-L6-v2"),
    "smollm2": LocalEncoder(model="data/models/SmolLM2-135M-Instruct", gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf"),
    "mpnet": LocalEncoder(model="data/models/all-mpnet-base-v2"),
    "ada-002": ApiEncoder(kind="api", model="text-embedding-ada-002"),
}
"""A sentence encoder, 384 wide; a decoder LLM, 576 wide; a larger sentence encoder, 768 wide, which
`python -m llmesr.tools.fetch mpnet` fetches; the paper's encoder, 1536 wide, which needs a key."""


class LoraSettings(Section):
    """How the encoder is tuned on what users wrote."""

    epochs: Count = 0
    """0 leaves the encoder as it is."""
    rank: Positive = 8
    """Of the low-rank matrices."""
    learning_rate: Rate = 0.0005
    """AdamW's."""
    batch_size: Annotated[int, Field(ge=2)] = 32
    """Pairs of a text and an item a step."""
    temperature: Rate = 0.05
    """Of the cosine."""


class EmbedSettings(Section):
    """Stage 02: prompts, LLM, embeddings."""

    encoder: str = "minilm"
    """One of the encoders below."""
    encoders: dict[str, Encoder] = ENCODERS
    """How each encoder is reached."""
    normalize: bool = True
    """Unit-length vectors (ada-002 gives them so)."""
    batch_tokens: Positive = 8192
    """Tokens a batch, padding included; texts are sorted by length."""
    item_template: str = "The product has the following attributes: title is {title}; {attributes}."
    """An item's prompt: names {title}, {attributes} or any column."""
    user_template: str = "The user has bought the following products: {history}. Summarise the user's preference."
    """A user's prompt: names {history}."""
    attribute_characters: Positive = 300
    """Each attribute is cut to this length at a word's end."""
    history_items: Positive = 30
    """The most recent training titles in a user prompt."""
    lora: LoraSettings = LoraSettings()
    """The encoder tuned on what users wrote (experiments of lesson 22)."""

    @model_validator(mode="after")
    def _encoder_exists(self) -> "EmbedSettings":
        if self.encoder not in self.encoders:
            raise ValueError(f"encoder '{self.encoder}' is not among {', '.join(self.encoders)}")
        return self
