"""Downloads from a publisher: they go on after a break, and a file that is not what it should be is refused."""

import hashlib
import io
import json
import zipfile
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

import pytest
from helpers import serving
from llmesr.errors import InputError
from llmesr.tools import download
from llmesr.tools.download import Source, fetch, sources

CONTENT = bytes(range(256)) * 4096  # a megabyte


class Publisher(BaseHTTPRequestHandler):
    """Serves files, with ranges; breaks off after some bytes, or answers with an error, as often as it is told."""

    files: ClassVar[dict[str, bytes]] = {}
    breaks: ClassVar[list[int]] = []
    errors: ClassVar[list[int]] = []
    asked: ClassVar[list[str]] = []
    ranges = True

    def do_GET(self):
        self.asked.append(f"{self.path} {self.headers.get('Range', '')}".strip())
        if self.errors or self.path not in self.files:
            self.send_error(self.errors.pop(0) if self.errors else 404)
            return
        content, first = self.files[self.path], 0
        tag = hashlib.md5(content).hexdigest()
        if self.ranges and "Range" in self.headers and self.headers.get("If-Range") == tag:
            first = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.send_header("ETag", tag)
        self.end_headers()
        self.wfile.write(content[first : first + self.breaks.pop(0)] if self.breaks else content[first:])

    def log_message(self, *_):
        pass


@pytest.fixture
def publisher(monkeypatch):
    for name, value in (("files", {"/ratings.csv": CONTENT}), ("breaks", []), ("errors", []), ("asked", [])):
        monkeypatch.setattr(Publisher, name, value)
    monkeypatch.setattr(Publisher, "ranges", True)
    monkeypatch.setattr(download, "PATIENCE", 0.5)
    with serving(Publisher) as address:
        yield address


def test_a_file_is_fetched_once(publisher, tmp_path):
    source = [Source(f"{publisher}/ratings.csv")]
    (file,) = fetch("shop", source, tmp_path)
    assert file.read_bytes() == CONTENT
    assert fetch("shop", source, tmp_path) == []
    assert Publisher.asked == ["/ratings.csv"]
    assert sorted(path.name for path in file.parent.iterdir()) == [".checksums.json", "ratings.csv"]


def test_a_download_that_breaks_off_goes_on_where_it_stopped(publisher, tmp_path):
    Publisher.breaks[:] = [300_000, 200_000]
    (file,) = fetch("shop", [Source(f"{publisher}/ratings.csv")], tmp_path)
    assert file.read_bytes() == CONTENT
    first, *later = Publisher.asked
    assert first == "/ratings.csv"
    begins = [int(asked.removeprefix("/ratings.csv bytes=").removesuffix("-")) for asked in later]
    assert 200_000 < begins[0] <= 300_000  # at most a block is lost
    assert 300_000 < begins[1] <= 500_000


def test_a_run_that_was_given_up_goes_on_in_the_next_one(publisher, tmp_path):
    Publisher.breaks[:] = [100_000] * download.TRIES
    with pytest.raises(InputError, match=r"ratings.csv cannot be fetched \(.*\): what has come is kept, run it again"):
        fetch("shop", [Source(f"{publisher}/ratings.csv")], tmp_path)
    Publisher.asked.clear()
    (file,) = fetch("shop", [Source(f"{publisher}/ratings.csv")], tmp_path)
    assert file.read_bytes() == CONTENT
    assert len(Publisher.asked) == 1
    assert "bytes=" in Publisher.asked[0]


def test_a_file_that_changed_in_between_is_fetched_anew(publisher, tmp_path):
    Publisher.breaks[:] = [100_000] * download.TRIES
    with pytest.raises(InputError):
        fetch("shop", [Source(f"{publisher}/ratings.csv")], tmp_path)
    Publisher.files["/ratings.csv"] = CONTENT[::-1]
    (file,) = fetch("shop", [Source(f"{publisher}/ratings.csv")], tmp_path)
    assert file.read_bytes() == CONTENT[::-1]


def test_a_server_that_knows_no_ranges_is_asked_for_everything(publisher, tmp_path, monkeypatch):
    monkeypatch.setattr(Publisher, "ranges", False)
    Publisher.breaks[:] = [300_000]
    (file,) = fetch("shop", [Source(f"{publisher}/ratings.csv")], tmp_path)
    assert file.read_bytes() == CONTENT


@pytest.mark.parametrize("error", [500, 503, 429])
def test_a_server_in_trouble_is_asked_again(publisher, tmp_path, error):
    Publisher.errors[:] = [error]
    assert len(fetch("shop", [Source(f"{publisher}/ratings.csv")], tmp_path)) == 1


def test_a_name_that_is_not_there_is_not_asked_for_again(publisher, tmp_path):
    with pytest.raises(InputError, match=r"nothing.csv cannot be fetched \(404\): is the name right\?"):
        fetch("shop", [Source(f"{publisher}/nothing.csv")], tmp_path)
    assert len(Publisher.asked) == 1


def test_a_publishers_checksum_is_checked(publisher, tmp_path):
    source = [Source(f"{publisher}/ratings.csv", f"{publisher}/ratings.csv.md5")]
    Publisher.files["/ratings.csv.md5"] = f"{hashlib.md5(b'other').hexdigest()}  ratings.csv\n".encode()
    with pytest.raises(InputError, match=r"ratings.csv is not what its checksum says"):
        fetch("shop", source, tmp_path)
    assert not (tmp_path / "shop" / "ratings.csv").exists()
    Publisher.files["/ratings.csv.md5"] = hashlib.md5(CONTENT).hexdigest().encode()
    assert len(fetch("shop", source, tmp_path)) == 1


def test_without_a_checksum_the_first_one_counts_from_then_on(publisher, tmp_path):
    source = [Source(f"{publisher}/ratings.csv", f"{publisher}/there-is-none.md5")]
    (file,) = fetch("shop", source, tmp_path)
    file.unlink()
    Publisher.files["/ratings.csv"] = b"other"
    with pytest.raises(InputError, match=r"is not what its checksum says .*changed the file, delete"):
        fetch("shop", source, tmp_path)
    file.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"ratings.csv has changed since it was fetched"):
        fetch("shop", source, tmp_path)


def test_an_archive_is_unpacked_into_the_folder_itself(publisher, tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("ml-1m/ratings.dat", "1::2::3::4\n")
        packed.writestr("ml-1m/movies.dat", "2::A::B\n")
        packed.writestr("../../evil.txt", "x")
    Publisher.files["/ml-1m.zip"] = archive.getvalue()
    source = [Source(f"{publisher}/ml-1m.zip")]
    added = fetch("movielens-1m", source, tmp_path)
    assert sorted(file.name for file in added) == ["evil.txt", "movies.dat", "ratings.dat"]
    assert {file.parent for file in added} == {tmp_path / "movielens-1m"}
    assert not (tmp_path / "movielens-1m" / "ml-1m.zip").exists()
    assert fetch("movielens-1m", source, tmp_path) == []
    (tmp_path / "movielens-1m" / "movies.dat").unlink()
    assert len(fetch("movielens-1m", source, tmp_path)) == 3
    Publisher.files["/broken.zip"] = b"no archive"
    with pytest.raises(InputError, match=r"broken.zip is no archive"):
        fetch("shop", [Source(f"{publisher}/broken.zip")], tmp_path)


def test_damaged_checksums_are_named(publisher, tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / ".checksums.json").write_text("{")
    with pytest.raises(InputError, match=r"checksums.json is damaged: delete it"):
        fetch("shop", [Source(f"{publisher}/ratings.csv")], tmp_path)


def test_names_of_datasets():
    assert [source.name for source in sources("movielens-1m")] == ["ml-1m.zip"]
    for year, ending in (("2014", "json.gz"), ("2018", "json.gz"), ("2023", "jsonl.gz")):
        reviews, metadata = sources(f"amazon-{year}-All_Beauty")
        assert metadata.name == f"meta_All_Beauty.{ending}"
        assert reviews.name.endswith(f"All_Beauty.{ending}")
    with pytest.raises(InputError, match=r"Yelp's data needs a form .*put yelp_academic_dataset_review.json"):
        sources("yelp")
    for name in ("movielens-2m", "amazon-2020-Books", "amazon-2023-../x", "shop"):
        with pytest.raises(InputError, match=r"is no dataset that can be fetched: these are complete-journey"):
            sources(name)


def test_the_checksum_of_what_was_fetched_is_kept(publisher, tmp_path):
    fetch("shop", [Source(f"{publisher}/ratings.csv")], tmp_path)
    kept = json.loads((tmp_path / "shop" / ".checksums.json").read_text())
    assert kept == {"ratings.csv": hashlib.md5(CONTENT).hexdigest()}
