"""Lines of JSON: what is wrong with one is said, and nothing that cannot be stored comes through."""

import pytest
from llmesr.prepare.sources.lines import json_object


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"a": ', "malformed JSON, Expecting value at character 7"),
        (b'{"a": NaN}', "malformed JSON, NaN is no number of JSON"),
        (b'{"a": -Infinity}', "malformed JSON, -Infinity is no number of JSON"),
        (b'{"a": "\xff"}', "malformed JSON, invalid start byte"),
        (rb'{"a": "\ud800"}', "malformed JSON, surrogates not allowed"),
        (b"[" * 100_000, "malformed JSON, too many lists in lists"),
        (b"[1]", "not a JSON object"),
    ],
)
def test_a_bad_line_is_told(line: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}$"):
        json_object(line)


def test_a_good_line_is_read() -> None:
    line = rb'{"a": "\ud83d\ude00 \u00e9 \\ud", "b": 12345678901234567890, "c": [1.5, null]}'
    assert json_object(line) == {"a": "😀 é \\ud", "b": 12345678901234567890, "c": [1.5, None]}
