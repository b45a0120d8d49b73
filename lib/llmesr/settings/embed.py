"""Sections of stage 02: encoders, prompts, the encoder tuned."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llmesr.settings.base import Positive, Section


class LocalEncoder(Section):
    """A language model that `transformers` runs here."""

    kind: Literal["transformers"]
    model: str
    gguf_file: str | None
    pooling: Literal["mean", "last", "cls"]
    max_tokens: Positive
    dtype: Literal["auto", "float32", "bfloat16"]
    adapter: str | None


class ApiEncoder(Section):
    """An OpenAI-compatible embeddings endpoint."""

    kind: Literal["api"]
    model: str
    base_url: str
    key_variable: str
    batch_size: Positive
    retries: Annotated[int, Field(ge=0)]
    timeout_seconds: Annotated[float, Field(gt=0)]


Encoder = Annotated[LocalEncoder | ApiEncoder, Field(discriminator="kind")]


class Lora(Section):
    """How the encoder is tuned on what users wrote."""

    epochs: Annotated[int, Field(ge=0)]
    rank: Positive
    learning_rate: Annotated[float, Field(gt=0)]
    batch_size: Annotated[int, Field(ge=2)]
    temperature: Annotated[float, Field(gt=0)]


class Embed(Section):
    """Stage 02: prompts, LLM, embeddings."""

    encoder: str
    encoders: dict[str, Encoder]
    normalize: bool
    batch_tokens: Positive
    item_template: str
    user_template: str
    attribute_characters: Positive
    history_items: Positive
    item_ugc_template: str | None
    user_ugc_template: str | None
    keywords: Positive
    lora: Lora

    @model_validator(mode="after")
    def _encoder_exists(self) -> "Embed":
        if self.encoder not in self.encoders:
            raise ValueError(f"encoder '{self.encoder}' is not among {', '.join(self.encoders)}")
        return self
