"""Say which raw files and language models there are: `python -m llmesr.tools.raw DATASET`, the pipeline's first stage.

Later stages depend on the two lists, so that they run again when a file changes. A missing file is answered here.
"""

import sys
from pathlib import Path

from llmesr.errors import InputError
from llmesr.paths import ROOT, artifact, md5, shown
from llmesr.prepare.dataset import save_json
from llmesr.settings import LocalEncoder, Settings, load
from llmesr.tools.fetch import FETCHED


def run(settings: Settings) -> None:
    """Write `artifacts/<dataset>/raw/files.json` and `models.json`: the MD5 of each file.

    Raises:
        InputError: the dataset's folder or the encoder's is missing or empty.
    """
    folder = artifact(settings.dataset, "raw")
    files = digests(settings.folder)
    if not files:
        what = "run `make data`" if settings.dataset in FETCHED else "put its raw files there (README names them)"
        raise InputError(f"{shown(settings.folder)} is missing or empty: {what}")
    encoder = settings.embed.encoders[settings.embed.encoder]
    if isinstance(encoder, LocalEncoder) and encoder.model.startswith("data/") and not digests(ROOT / encoder.model):
        raise InputError(f"{encoder.model} is missing: run `make data`")
    save_json(files, folder / "files.json")
    save_json(digests(ROOT / "data" / "models"), folder / "models.json")


def digests(folder: Path) -> dict[str, str]:
    """Compute the MD5 of every file below a folder, by its path there; hidden ones are left out."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): md5(path) for path in paths}


if __name__ == "__main__":
    try:
        run(load(dataset=sys.argv[1] if len(sys.argv) > 1 else ""))
    except InputError as problem:
        sys.exit(str(problem))
