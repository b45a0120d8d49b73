"""Tables of text as people have them: any separator and encoding, with or without a header, compressed or not.

Everything is read with Python's csv module, which tells the line that a record ends on, however many lines its texts
hold. So every message can name the line as an editor counts it.
"""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import polars as pl

from llmesr.errors import InputError
from llmesr.notes import note
from llmesr.paths import shown
from llmesr.prepare.sources import lines

SEPARATORS = (",", "\t", ";", "|", "::", " ")
NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar", "::": "'::'", " ": "blank"}
STAND_IN = "\x1f"
"""Stands for separators of more than one character, which the csv module does not know."""
SAMPLE = 200
"""Records that are looked at to recognise a separator."""
MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe\0\0", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))

PREAMBLE = re.compile(r"#\s|%|sep=.$", re.I)
"""How a line above the table begins: a comment, or what Excel writes there."""

csv.field_size_limit(1 << 30)


@dataclass(frozen=True)
class Dialect:
    """How a file is written.

    Attributes:
        encoding: as Python calls it.
        separator: one of `SEPARATORS`, or what the settings say.
        quoted: whether quotes around a field may hold separators and line ends.
        escaped: whether a quote within quotes has a backslash before it, instead of being written twice.
    """

    encoding: str
    separator: str
    quoted: bool = True
    escaped: bool = False


def _ways(dialect: Dialect) -> list[Dialect]:
    """List how quotes may be meant: as usual, with backslashes, or, but for commas and semicolons, as plain signs."""
    ways = [dialect, replace(dialect, escaped=True)]
    return ways if dialect.separator in ",;" else [*ways, replace(dialect, quoted=False)]


def read(
    file: Path, is_header: Callable[[Sequence[str]], bool], separator: str | None = None, encoding: str | None = None
) -> tuple[pl.DataFrame, bool]:
    """Read a table as text; empty fields are null, lines without any field are left out.

    Args:
        file: the table.
        is_header: says of the first record whether it names the columns.
        separator: between fields; None: the one that fits best.
        encoding: of the text; None: UTF-8, or what a mark at the start says, or else Windows-1252, which is said.

    Returns:
        The table, with the number of each row's line in the column `LINE`; and whether it has a header. Without one the
        columns are called 1, 2, ….

    Raises:
        InputError: the file is no text or damaged, a quote is not closed, or a line has too many fields.
    """
    encoding = _encoding(file, encoding)
    dialect = _dialect(file, encoding, is_header, separator)
    fault: csv.Error | None = None
    for way in _ways(dialect):
        try:
            return _table(file, way, is_header)
        except csv.Error as error:
            fault = fault or error
    raise fault


def names(
    file: Path, is_header: Callable[[Sequence[str]], bool], separator: str | None = None, encoding: str | None = None
) -> list[str]:
    """Read the names of the columns only, or 1, 2, … without a header."""
    dialect = _dialect(file, _encoding(file, encoding), is_header, separator)
    _, first = next(records(file, dialect), (0, []))
    return [name.strip() for name in first] if is_header(first) else [str(i) for i in range(1, len(first) + 1)]


def _table(file: Path, dialect: Dialect, is_header: Callable[[Sequence[str]], bool]) -> tuple[pl.DataFrame, bool]:
    found = records(file, dialect)
    number, first = next(found, (0, []))
    if not first:
        raise InputError(f"{shown(file)} is empty: put the table there")
    headed = is_header(first)
    names = [name.strip() for name in first] if headed else [str(i) for i in range(1, len(first) + 1)]
    names = [name or f"unnamed {i}" for i, name in enumerate(names, start=1)]
    if double := [name for i, name in enumerate(names) if name in names[:i]]:
        raise InputError(f"{shown(file)}, line {number}: the column '{double[0][:60]}' occurs twice: rename one")

    def row(numbered: tuple[int, list[str]]) -> tuple:
        line, fields = numbered
        if len(fields) == 1 < len(names):
            _refuse_a_line_in_one_field(f"{shown(file)}, line {line}", fields[0], len(names), dialect.separator)
        if len(fields) > len(names):
            if any(fields[len(names) :]):
                called = NAMES.get(dialect.separator, repr(dialect.separator))
                raise InputError(f"{shown(file)}, line {line}: more fields than the header: quote a {called} in it")
            fields = fields[: len(names)]  # a separator ends the line
        return (line, *(field or None for field in fields), *[None] * (len(names) - len(fields)))

    rest = found if headed else _and_first((number, first), _below(file, found, is_header))
    schema = {lines.LINE: pl.Int64, **dict.fromkeys(names, pl.String)}
    return lines.collect(map(row, rest), schema), headed


def _below(file: Path, rest: Iterator, is_header: Callable[[Sequence[str]], bool]) -> Iterator:
    """Check that what follows a first line without names is no header.

    Raises:
        InputError: the second line is one.
    """
    for place, (number, fields) in enumerate(rest):
        line = " ".join(fields)  # whatever the separator was taken for
        ways = [fields, *(line.split(separator) for separator in SEPARATORS[:-1])]
        if place == 0 and any(map(is_header, ways)):
            raise InputError(
                f"{shown(file)}, line {number} has the names of the columns, and other lines stand above it: delete "
                "those"
            )
        yield number, fields


def _refuse_a_line_in_one_field(where: str, field: str, width: int, separator: str) -> None:
    """Say why a line is a single field where the header has several.

    Raises:
        InputError: the line stands in quotes as a whole, or has another separator than the header.
    """
    if separator in field and field.count(separator) >= width - 1:
        raise InputError(f"{where} stands in quotes as a whole: save the table with quotes around its fields only")
    other = next((one for one in SEPARATORS[:-1] if one != separator and field.count(one) == width - 1), None)
    if other:
        raise InputError(
            f"{where} has a {NAMES[other]} between its fields, the header a {NAMES.get(separator, separator)}"
        )


def _and_first(first: tuple[int, list[str]], rest: Iterator) -> Iterator:
    yield first
    yield from rest


def records(file: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """Yield each record that is not empty, with the line it begins on.

    Raises:
        InputError: the file is damaged or holds bytes that are no text.
        csv.Error: a quote is out of place; the message names file and line.
    """
    with _opened(file, dialect.encoding) as stream:
        separator, text = dialect.separator, _without_preamble(stream)
        if separator == " ":
            text = (" ".join(line.split()) + "\n" for line in text)
        elif len(separator) > 1:
            separator, text = STAND_IN, (line.replace(dialect.separator, STAND_IN) for line in text)
        if dialect.escaped:
            text = (line.replace('\\"', '""') for line in text)
        quoting = csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE
        reader = csv.reader(text, delimiter=separator, quoting=quoting, strict=True)
        begins = 1
        try:
            for fields in reader:
                if any(field and not field.isspace() for field in fields):
                    yield begins, fields
                begins = reader.line_num + 1
        except csv.Error as error:
            raise UnbalancedError(
                f"{shown(file)}, line {begins}: a quote is not closed, or text follows a closing one ({error}): "
                'write a quote within quotes twice, "like ""this"""'
            ) from None
        except UnicodeDecodeError:
            raise InputError(f"{shown(file)} is not {dialect.encoding}: save it as UTF-8") from None
        except (EOFError, zlib.error, OSError) as error:
            raise InputError(f"{shown(file)} is damaged after line {begins - 1} ({error}): get it again") from None


def _without_preamble(stream: Iterable[str]) -> Iterator[str]:
    """Empty the lines above the table: comments, and the separator that Excel writes there. Their numbers stay."""
    above = True
    for line in stream:
        above = above and (not line.strip() or PREAMBLE.match(line) is not None)
        yield "\n" if above else line


class UnbalancedError(InputError, csv.Error):
    """Quotes that do not fit together."""


def _opened(file: Path, encoding: str) -> io.TextIOBase:
    try:
        if file.suffix == ".gz":
            return gzip.open(file, "rt", encoding=encoding, newline="")
        return file.open(encoding=encoding, newline="")
    except (OSError, LookupError) as error:
        raise InputError(f"{shown(file)} cannot be read ({error}): correct it, or 'encoding'") from None


def _bytes(file: Path) -> Iterator[bytes]:
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as raw:
            while part := raw.read(1 << 24):
                yield part
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(f"{shown(file)} is damaged ({error}): get it again") from None


def _encoding(file: Path, chosen: str | None) -> str:
    """Recognise the encoding, unless it is chosen; text without a byte of zero is no UTF-16, whatever is chosen.

    A file with some bytes that are no UTF-8 is Windows-1252 if hardly anything else in it is, and otherwise damaged.
    """
    head = next(_bytes(file), b"")
    wide = chosen is not None and re.match(r"utf[-_]?(16|32)", chosen, re.I)
    if chosen is not None and not (wide and b"\0" not in head):
        return chosen
    for mark, encoding in MARKS:
        if head.startswith(mark):
            return encoding
    if b"\0" in head[:1000]:
        raise InputError(
            f"{shown(file)} is no text in UTF-8 (it has bytes of zero): save it as UTF-8, or set 'encoding', "
            "such as utf-16-le, for this dataset"
        )
    if _decodes(file, "utf-8"):
        return "utf-8"
    good, bad, line = _count_signs(file)
    if good > bad:
        raise InputError(f"{shown(file)}, line {line}: a byte that is no UTF-8: correct the line")
    note(
        f"{shown(file)} is not UTF-8 (first on line {line}) and is read as Windows-1252; "
        "set 'encoding' for this dataset if names look odd"
    )
    return "cp1252" if _decodes(file, "cp1252") else "latin-1"


def _decodes(file: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for part in _bytes(file):
            decoder.decode(part)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _count_signs(file: Path) -> tuple[int, int, int]:
    """Count what is beyond ASCII: signs in UTF-8, bytes that are none, and the line of the first of these."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
    good = bad = lines_before = first = 0
    for part in (*_bytes(file), b""):
        text = decoder.decode(part, final=not part)
        wrong = [place for place, sign in enumerate(text) if "\udc80" <= sign <= "\udcff"]
        if wrong and not bad:
            first = lines_before + 1 + text.count("\n", 0, wrong[0])
        bad += len(wrong)
        good += sum(sign > "\x7f" for sign in text) - len(wrong)
        lines_before += text.count("\n")
    return good, bad, first


def _dialect(file: Path, encoding: str, is_header: Callable[[Sequence[str]], bool], separator: str | None) -> Dialect:
    """Choose the separator under which the first records have the columns that are looked for, or equally many."""
    if separator is not None:
        return Dialect(encoding, separator)
    best, most = Dialect(encoding, ","), (False, False, False, False, 0)
    for candidate in SEPARATORS:
        for dialect in _ways(Dialect(encoding, candidate)):
            try:
                sample = [fields for _, fields in islice(records(file, dialect), SAMPLE)]
            except csv.Error:
                continue
            widths = {len(fields) for fields in sample[1:]} or {0}
            if sample and len(sample[0]) > 1:
                even, tabs = widths <= {len(sample[0])}, candidate == "\t" and ".tsv" in file.suffixes
                # blanks stand within texts, too: they come last
                fit = (is_header(sample[0]), even, tabs, candidate != " ", len(sample[0]))
                if fit > most:
                    best, most = dialect, fit
            break
    return best
