"""What tests of raw files share."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from llmesr.prepare.sources import Raw, load_raw
from llmesr.settings import DatasetSettings


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Raw]:
    """Write files by name, as text, as bytes or as a frame, and read them as the pipeline does."""

    def read(files: dict[str, str | bytes | pl.DataFrame], **keys: object) -> Raw:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, pl.DataFrame):
                content.write_parquet(path)
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_raw(tmp_path, DatasetSettings(**keys))

    return read
