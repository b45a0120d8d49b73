"""Fetch a public dataset from its publisher: `make data DATASET=movielens-1m`, on a machine with a network.

A download that breaks off goes on where it stopped. A publisher's checksum is checked; where there is none, that of the
first download is kept in the folder and compared from then on.
"""

import json
import re
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pooch
import requests
from tqdm import tqdm

from llmesr.errors import InputError
from llmesr.paths import ROOT, replacing, shown
from llmesr.tools.fetch import FETCHED

GROUPLENS = "https://files.grouplens.org/datasets/movielens"
UCSD = "https://mcauleylab.ucsd.edu/public_datasets/data"
SNAP = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
MOVIELENS = ("latest-small", "1m", "10m", "20m", "25m", "32m")
RELEASES = {
    "2014": (f"{SNAP}/reviews_{{}}.json.gz", f"{SNAP}/meta_{{}}.json.gz"),
    "2018": (f"{UCSD}/amazon_v2/categoryFiles/{{}}.json.gz", f"{UCSD}/amazon_v2/metaFiles2/meta_{{}}.json.gz"),
    "2023": (
        f"{UCSD}/amazon_2023/raw/review_categories/{{}}.jsonl.gz",
        f"{UCSD}/amazon_2023/raw/meta_categories/meta_{{}}.jsonl.gz",
    ),
}
"""Where reviews and metadata of a category lie; `{}` stands for it."""
KNOWN = (
    f"{', '.join(FETCHED)}, {', '.join(f'movielens-{size}' for size in MOVIELENS)}, and amazon-2014-X, amazon-2018-X "
    "and amazon-2023-X for a category X as the publisher writes it (Beauty, AMAZON_FASHION, All_Beauty)"
)
CHECKSUMS = ".checksums.json"
TRIES = 5
PATIENCE = 30.0
"""Seconds without an answer after which a try is given up."""
BLOCK = 1 << 16


@dataclass(frozen=True)
class Source:
    """One file of a publisher.

    Attributes:
        url: where it lies.
        checksum: where its MD5 lies; None if the publisher gives none.
    """

    url: str
    checksum: str | None = None

    @property
    def name(self) -> str:
        """What the file is called."""
        return self.url.rpartition("/")[2]


def sources(dataset: str) -> list[Source]:
    """List the files of a dataset.

    Raises:
        InputError: it is not known, or has to be asked for by hand.
    """
    if dataset == "yelp":
        raise InputError(
            "Yelp's data needs a form (https://business.yelp.com/data/resources/open-dataset/): put "
            "yelp_academic_dataset_review.json and yelp_academic_dataset_business.json into data/yelp/"
        )
    if dataset.startswith("movielens-") and (size := dataset.removeprefix("movielens-")) in MOVIELENS:
        file = f"{GROUPLENS}/ml-{size}.zip"
        return [Source(file, f"{file}.md5")]
    if named := re.fullmatch(r"amazon-(2014|2018|2023)-([A-Za-z0-9_]+)", dataset):
        return [Source(url.format(named[2])) for url in RELEASES[named[1]]]
    raise InputError(f"'{dataset[:60]}' is no dataset that can be fetched: these are {KNOWN}")


def fetch(dataset: str, files: list[Source] | None = None, data: Path = ROOT / "data") -> list[Path]:
    """Fetch what is missing of a dataset, and check what is there.

    Args:
        dataset: its name, which is its folder's.
        files: its files; None: those of `sources`.
        data: the folder of all datasets.

    Returns:
        the files that were added.

    Raises:
        InputError: a download fails, or a file is not what its checksum says.
    """
    folder, added = data / dataset, []
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources(dataset) if files is None else files:
        kept = _checksums(folder)
        there = folder / source.name
        if source.name in kept and _is_complete(folder, source, kept):
            continue
        known = f"md5:{kept[source.name]}" if source.name in kept else _published(source)
        try:
            pooch.retrieve(source.url, known, fname=source.name, path=folder, downloader=_Resumable(folder))
        except InputError:
            raise
        except ValueError:  # pooch's word for another checksum
            raise InputError(
                f"{source.url} is not what its checksum says ({known}): try again later; if the publisher has "
                f"changed the file, delete {shown(folder / CHECKSUMS)}"
            ) from None
        _keep(folder, source.name, pooch.file_hash(str(there), "md5"))
        if there.suffix == ".zip":
            added += _unpack(there, folder)
            there.unlink()
        else:
            added.append(there)
    return added


def _is_complete(folder: Path, source: Source, kept: dict[str, str]) -> bool:
    """Whether a file that was fetched before is still there, and still the same."""
    if source.name.endswith(".zip"):
        return all((folder / name).exists() for name in kept.get(f"{source.name} holds", "").split("\n"))
    there = folder / source.name
    if not there.exists():
        return False
    if pooch.file_hash(str(there), "md5") != kept[source.name]:
        raise InputError(f"{shown(there)} has changed since it was fetched: delete it and fetch it again")
    return True


class _Resumable:
    """Downloads to `NAME.part`, on which the next try goes on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, url: str, output_file: str, _: object) -> None:
        name = url.rpartition("/")[2]
        part, mark = self.folder / f".{name}.part", self.folder / f".{name}.etag"
        reason: Exception | str = ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(min(2.0**attempt, 30) * PATIENCE / 30)
            try:
                if self._go_on(url, part, mark, name):
                    mark.unlink(missing_ok=True)
                    part.replace(output_file)
                    return
                reason = "the connection was closed early"
            except requests.HTTPError as error:
                if error.response.status_code < 500 and error.response.status_code not in (408, 429):
                    raise InputError(
                        f"{url} cannot be fetched ({error.response.status_code}): is the name right?"
                    ) from None
                reason = error
            except (requests.RequestException, OSError) as error:
                reason = error
        raise InputError(f"{url} cannot be fetched ({reason}): what has come is kept, run it again to go on")

    @staticmethod
    def _go_on(url: str, part: Path, mark: Path, name: str) -> bool:
        """Fetch what is missing; say whether the file is whole now."""
        have = part.stat().st_size if part.exists() else 0
        same = mark.read_text() if mark.exists() else ""
        # only what is left of the same file: a server whose file has changed sends all of it
        headers = {"Range": f"bytes={have}-", "If-Range": same} if have and same else {}
        with requests.get(
            url, headers={**headers, "Accept-Encoding": "identity"}, stream=True, timeout=PATIENCE
        ) as reply:
            reply.raise_for_status()
            resumed = reply.status_code == 206
            mark.write_text(reply.headers.get("ETag") or reply.headers.get("Last-Modified", ""))
            left = int(reply.headers["Content-Length"]) if "Content-Length" in reply.headers else None
            whole = None if left is None else left + (have if resumed else 0)
            with (
                part.open("ab" if resumed else "wb") as stream,
                tqdm(total=whole, initial=have if resumed else 0, desc=name, unit="B", unit_scale=True) as bar,
            ):
                for block in reply.iter_content(BLOCK):
                    stream.write(block)
                    bar.update(len(block))
        return whole is None or part.stat().st_size == whole


def _published(source: Source) -> str | None:
    """Ask for the publisher's checksum; None if there is none."""
    if source.checksum is None:
        return None
    try:
        reply = requests.get(source.checksum, timeout=PATIENCE)
    except requests.RequestException as error:
        raise InputError(f"{source.checksum} cannot be reached ({error}): is there a network?") from None
    found = re.search(r"\b[0-9a-f]{32}\b", reply.text) if reply.ok else None
    return f"md5:{found[0]}" if found else None


def _checksums(folder: Path) -> dict[str, str]:
    file = folder / CHECKSUMS
    try:
        return json.loads(file.read_text()) if file.exists() else {}
    except ValueError:
        raise InputError(f"{shown(file)} is damaged: delete it, and the files are fetched again") from None


def _keep(folder: Path, name: str, value: str) -> None:
    with replacing(folder / CHECKSUMS) as temporary:
        temporary.write_text(json.dumps({**_checksums(folder), name: value}, indent=1) + "\n")


def _unpack(archive: Path, folder: Path) -> list[Path]:
    """Unpack all files of an archive into the folder itself, and remember their names."""
    added = []
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                name = Path(member.filename).name
                if not member.is_dir() and name and not name.startswith("."):
                    with (
                        replacing(folder / name) as temporary,
                        opened.open(member) as source,
                        temporary.open("wb") as to,
                    ):
                        while block := source.read(BLOCK):
                            to.write(block)
                    added.append(folder / name)
    except zipfile.BadZipFile as error:
        raise InputError(f"{shown(archive)} is no archive ({error}): delete it and fetch it again") from None
    _keep(folder, f"{archive.name} holds", "\n".join(file.name for file in added))
    return added


def main() -> None:
    """Fetch the dataset that is named."""
    dataset = sys.argv[1]
    if dataset in FETCHED:
        return
    try:
        added = fetch(dataset)
    except InputError as problem:
        sys.exit(str(problem))
    print(f"data/{dataset}/: {len(added)} files fetched; look at them with `python -m llmesr.check data/{dataset}`")


if __name__ == "__main__":
    main()
