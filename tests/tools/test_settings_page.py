"""The page of all settings has every key of the schema, with its type, default and description."""

from llmesr.settings import known_keys
from llmesr.settings.schema import Settings
from llmesr.tools.settings_page import page, sections


def test_every_key_is_listed_with_a_description():
    text = page()
    for key in known_keys(Settings):
        assert f"| `{key.split('.')[-1]}` |" in text, key
    for path, section in sections(Settings):
        lines = text.split(f"## `{path}`\n")[1 if path else 0].split("\n## ")[0 if path else 1].splitlines()
        rows = [line for line in lines if line.startswith("| `")]
        assert len(rows) == len(section.model_fields), path
        assert all(row.split(" | ")[-1].removesuffix(" |") for row in rows), path


def test_rows_say_type_and_default():
    text = page()
    for row in (
        "| `alpha` | number | `0.05` | Weight of the self-distillation",
        "| `source` | `llm` or `cooccurrence` or `collaborative` or `random` | `llm` |",
        "| `seeds` | list of integer | `[42, 43, 44]` |",
        "| `length_edges` | list of 4 × integer | `[5, 10, 15, 20]` |",
        "| `gguf_file` | text or null | `null` |",
        "| `workers` | integer or `auto` | `auto` |",
        "| `model` | text | (required) |",
    ):
        assert row in text, row
    assert "## `modalities.sources.<name> (knowledge)`" in text
    assert "## `methods.llmesr`" in text
