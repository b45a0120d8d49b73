"""Points in time as files have them: numbers, ISO 8601, and days written in another order.

What comes back can be sorted, and is exact to the unit of the file: whole numbers stay whole, numbers with digits after
the point become decimals, dates keep microseconds, or nanoseconds where the file has them. A time without a zone is
taken for UTC.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from math import isfinite

import polars as pl

from llmesr.notes import note

NANOSECONDS = 1_000_000_000
EPOCH = date(1970, 1, 1).toordinal()
RANGE = 1 << 63
"""What fits into 64 bits lies within ± this."""

CLOCK = (
    r"(?:(?:[Tt]|\s+)(?P<hour>\d{1,2})(?::?(?P<minute>\d{2})(?::?(?P<second>\d{2}))?)?(?:[.,](?P<fraction>\d+))?"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?\s*(?P<zone>[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?)?"
)
DOTTED = re.compile(r"(?<=\d)\s+(\d{1,2})\.(\d{2})(?:\.(\d{2}))?$")
"""A time of day with dots, as in Finland and Italy: 22.30."""
YEAR_FIRST = re.compile(r"(?P<year>\d{4})(?P<by>[-/.])(?P<month>\d{1,2})(?P=by)(?P<day>\d{1,2})" + CLOCK)
BASIC = re.compile(r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})" + CLOCK)
ORDINAL = re.compile(r"(?P<year>\d{4})-?(?P<ordinal>\d{3})" + CLOCK)
WEEK = re.compile(r"(?P<week>\d{4}-?W\d{2}(?:-?\d)?)" + CLOCK)
YEAR_LAST = re.compile(r"(?P<first>\d{1,2})(?P<by>[-/.])(?P<other>\d{1,2})(?P=by)(?P<year>\d{4})" + CLOCK)

WHOLE = r"^[+-]?\d+$"
PLAIN = r"^[+-]?(\d+\.?\d*|\.\d+)$"
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"

MONTH = r"\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b"


class BadTimeError(ValueError):
    """A point in time that cannot be read: in which row, and why."""

    def __init__(self, row: int, problem: str) -> None:
        super().__init__(problem)
        self.row = row


def read(column: pl.Series, form: str | None = None) -> pl.Series:
    """Read a column of points in time.

    Args:
        column: numbers, dates, or text of either.
        form: how text is written, as Python's `strptime` reads it; None: as it is recognised.

    Returns:
        Int64, Decimal, Float64 or Datetime.

    Raises:
        BadTimeError: a row has none, or none of the kind that the other rows have.
    """
    if column.is_empty():
        return column.cast(pl.Int64, strict=False)
    if column.dtype == pl.Categorical or column.dtype == pl.Enum:
        column = column.cast(pl.String)
    if column.dtype != pl.String:
        times = _native(column)
    else:
        text = column.str.strip_chars()
        if text.null_count() or (text == "").any():
            raise BadTimeError(int((text.is_null() | (text == "")).arg_max()), "there is no point in time")
        times = _dates(text, lambda value: _by_form(value, form)) if form else _recognised(text)
    _refuse_days_in_digits(times)
    _warn_of_units(times)
    return times


def _native(column: pl.Series) -> pl.Series:
    """Check numbers and dates that the file has as such."""
    if column.null_count():
        raise BadTimeError(int(column.is_null().arg_max()), "there is no point in time")
    kind = column.dtype
    if kind.is_float():
        if not column.is_finite().all():
            row = int((~column.is_finite()).arg_max())
            raise BadTimeError(row, f"{column[row]} is no point in time")
        return column.cast(pl.Float64)
    if kind.is_integer():
        return column.cast(pl.Int64, strict=True) if column.dtype != pl.UInt64 else column
    if kind == pl.Date:
        return column.cast(pl.Datetime("us"))
    if isinstance(kind, pl.Datetime):
        return column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if kind.time_zone else column
    if kind.is_decimal():
        return column
    raise BadTimeError(0, f"the column has the type {kind}, which is no point in time")


def _recognised(text: pl.Series) -> pl.Series:
    """Read text as numbers if most rows are numbers, and as dates otherwise."""
    number = text.str.contains(NUMBER)
    if number.mean() >= 0.5:
        if not number.all():
            raise BadTimeError(int((~number).arg_max()), _beside_numbers(_short(text, ~number)))
        return _numbers(text)
    day_first = _day_first(text)
    return _dates(text, lambda value: moment(value, day_first))


def _beside_numbers(text: str) -> str:
    try:
        moment(text, day_first=True)
    except ValueError:
        return f"'{text}' is neither a number nor an ISO date: correct it"
    return f"'{text}' is a date, and other rows have numbers: write all alike"


def _numbers(text: pl.Series) -> pl.Series:
    """Read numbers as exactly as they are written."""
    text = text.str.strip_prefix("+")
    if text.str.contains(WHOLE).all():
        whole = text.cast(pl.Int64, strict=False)
        if whole.null_count():
            raise BadTimeError(int(whole.is_null().arg_max()), f"'{_short(text, whole.is_null())}' is too large")
        return whole
    if (rounded := text.str.contains(r"^\d(\.\d{1,6})?[eE]\+\d+$")).any():
        row = int(rounded.arg_max())
        raise BadTimeError(
            row,
            f"'{text[row]}' is a number that a spreadsheet has rounded, so that times far apart become one: export the "
            "table again with this column as text",
        )
    if text.str.contains(PLAIN).all():
        fractions = text.str.splitn(".", 2).struct.field("field_1").fill_null("")
        digits = int(fractions.str.len_chars().max())
        longest = int(text.str.replace_all(r"[^0-9]", "").str.len_chars().max())
        if longest + digits <= 36:
            return text.cast(pl.Decimal(38, digits))
    numbers = text.cast(pl.Float64, strict=False)
    if not (fits := numbers.is_finite().fill_null(value=False)).all():
        raise BadTimeError(int((~fits).arg_max()), f"'{_short(text, ~fits)}' is too large")
    return numbers


def _dates(text: pl.Series, parse: Callable[[str], int]) -> pl.Series:
    """Read each distinct text with `parse`, which gives nanoseconds since 1970."""
    distinct = text.unique(maintain_order=True)
    moments = []
    for value in distinct:
        try:
            moments.append(parse(value))
        except ValueError as problem:
            row = int((text == value).arg_max())
            raise BadTimeError(row, f"'{value[:60]}' {problem}") from None
    fine = any(found % 1000 for found in moments)
    units = moments if fine else [found // 1000 for found in moments]
    for value, units_of in zip(distinct, units, strict=True):
        if not -RANGE <= units_of < RANGE:
            row = int((text == value).arg_max())
            raise BadTimeError(row, f"'{value[:60]}' lies outside of what nanoseconds can tell (1678 to 2262)")
    times = pl.Series(units, dtype=pl.Int64).cast(pl.Datetime("ns" if fine else "us"))
    return text.replace_strict(distinct, times, return_dtype=times.dtype)


def moment(text: str, day_first: bool | None = None) -> int:
    """Read an ISO 8601 date, with or without a time of day, or one with the year last, as nanoseconds since 1970.

    Args:
        text: such as `2024-01-31`, `2024/1/31 9:05`, `20240131T090500Z`, `2024-W05-3`, `31.01.2024`.
        day_first: of dates with the year last; None: they are refused.

    Raises:
        ValueError: it is none, or there is no such day.
    """
    text = DOTTED.sub(lambda clock: " " + ":".join(part for part in clock.groups() if part), text)
    for pattern in (YEAR_FIRST, BASIC, ORDINAL, WEEK, YEAR_LAST):
        if found := pattern.fullmatch(text):
            parts = found.groupdict()
            return (_day(parts, day_first) - EPOCH) * 86_400 * NANOSECONDS + _clock(parts)
    raise ValueError("is neither a number nor an ISO date: correct it, or set 'time_format' for this dataset")


def is_time(text: str, form: str | None = None) -> bool:
    """Whether a text is a number or a date, or one that is written like `form`."""
    if form is None:
        return bool(re.match(NUMBER, text)) or is_date(text)
    try:
        _by_form(text, form)
    except ValueError:
        return False
    return True


def looks_like_time(text: str) -> bool:
    """Whether a text is a date, has the name of a month and a year, or counts seconds or milliseconds since 1970."""
    if re.fullmatch(NUMBER, text):
        return 9e8 < float(text) < 2.2e9 or 9e11 < float(text) < 2.2e12
    worded = len(text) < 50 and re.search(MONTH, text, re.I) and re.search(r"\b(19|20)\d\d\b", text)
    return is_date(text) or bool(worded)


def is_date(text: str) -> bool:
    """Whether a text is a date in one of the forms that are known, and no mere number."""
    try:
        moment(text, day_first=True)
    except ValueError:
        return False
    return not text.isdigit()


def _day(parts: dict[str, str | None], day_first: bool | None) -> int:
    """Number the day, with 1 January of the year 1 as 1."""
    try:
        if week := parts.get("week"):
            return date.fromisoformat(week).toordinal()
        year = int(parts["year"])
        if ordinal := parts.get("ordinal"):
            day = date(year, 1, 1) + timedelta(int(ordinal) - 1)
            if day.year != year or int(ordinal) == 0:
                raise ValueError
            return day.toordinal()
        if first := parts.get("first"):
            if parts["by"] == ".":
                day_first = True
            if day_first is None:
                raise ValueError("…")
            day, month = (first, parts["other"]) if day_first else (parts["other"], first)
        else:
            day, month = parts["day"], parts["month"]
        return date(year, int(month), int(day)).toordinal()
    except ValueError as problem:
        if str(problem) == "…":
            raise ValueError(
                "may have the day or the month first, and no row tells: set 'time_format' for this dataset, "
                "to '%d/%m/%Y' or '%m/%d/%Y' (with ' %H:%M' and the like for a time of day)"
            ) from None
        mixed = " in the order that the other rows have" if parts.get("first") and parts["by"] != "." else ""
        raise ValueError(f"is no day of the calendar{mixed}: correct it") from None


def _clock(parts: dict[str, str | None]) -> int:
    """Count the nanoseconds since midnight, in UTC."""
    hour, minute, second = (int(parts[name] or 0) for name in ("hour", "minute", "second"))
    if half := parts["half"]:
        if not 1 <= hour <= 12:
            raise ValueError("is no time of day: correct it")
        hour = hour % 12 + 12 * (half[0] in "Pp")
    smallest = 1 if parts["second"] else 60 if parts["minute"] else 3600  # seconds that a fraction is a part of
    fraction = parts["fraction"] or "0"
    rest = int(fraction) * smallest * NANOSECONDS // 10 ** len(fraction)
    nanoseconds = (hour * 3600 + minute * 60 + second) * NANOSECONDS + rest
    # 24:00 is the end of a day, and a leap second has the number 60
    midnight = hour == 24 and nanoseconds == 86_400 * NANOSECONDS
    if not midnight and (hour > 23 or minute > 59 or second > 60):
        raise ValueError("is no time of day: correct it")
    zone = parts["zone"]
    if not zone or zone[0] not in "+-":
        return nanoseconds
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
    if hours > 15 or minutes > 59:
        raise ValueError("has no such time zone: correct it")
    shift = (hours * 3600 + minutes * 60) * NANOSECONDS
    return nanoseconds - shift if zone[0] == "+" else nanoseconds + shift


def _by_form(text: str, form: str) -> int:
    """Read a date as `time_format` says."""
    try:
        found = datetime.strptime(text, form)
    except ValueError:
        raise ValueError(f"is not written like 'time_format' ({form}): correct one of them") from None
    found = found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found
    since = found - datetime(1970, 1, 1)
    return (since.days * 86_400 + since.seconds) * NANOSECONDS + since.microseconds * 1000


def _day_first(text: pl.Series) -> bool | None:
    """Tell from all rows whether dates with the year last begin with the day; None if no row tells."""
    parts = text.str.extract_groups(r"^(\d{1,2})[-/](\d{1,2})[-/]\d{4}").struct.unnest()
    first, other = (parts[name].cast(pl.Int64, strict=False).max() for name in parts.columns)
    if first is None or (first <= 12 and other <= 12):
        return None
    return first > 12


def _refuse_days_in_digits(times: pl.Series) -> None:
    """Refuse numbers that are all days like 31122024, since their order is not that of the days.

    Raises:
        BadTimeError: they are.
    """
    if not times.dtype.is_integer():
        return
    year, other, first = times % 10_000, times // 10_000 % 100, times // 1_000_000
    days = first.is_between(1, 31) & other.is_between(1, 31) & ((first <= 12) | (other <= 12))
    if (days & year.is_between(1900, 2100)).all():
        raise BadTimeError(0, f"{times[0]} seems to be a day, whose digits do not sort by time: write it as 2024-12-31")


def _warn_of_units(times: pl.Series) -> None:
    """Say that seconds and milliseconds seem to be mixed, which would tear histories apart."""
    if times.dtype.is_temporal() and times.dt.year().max() >= 2100:
        late = int((times.dt.year() >= 2100).sum())
        note(f"{late} of {len(times)} times lie beyond 2100 ({times.max()}): drop them if that means unknown")
    if times.dtype.is_integer() and times.max() > 1e8 and (times <= 0).any():
        note(f"{int((times <= 0).sum())} of {len(times)} times are 0 or less: drop these rows if that means unknown")
    if times.dtype.is_numeric() and times.len():
        low, high = abs(float(times.min())), abs(float(times.max()))
        if isfinite(high) and 1e8 < low < 1e10 and 1e11 < high < 1e14:
            note(f"times go from {low:.0f} to {high:.0f}: seconds and milliseconds seem to be mixed; write all alike")
    if times.dtype.is_integer() and times.len():
        days = times.is_between(19_000_101, 21_001_231)
        if days.any() and (times > 5e8).any():
            note(
                f"{int(days.sum())} of {len(times)} times look like days ({times.filter(days)[0]}) and others like "
                f"seconds ({times.max()}): write all alike"
            )


def _short(text: pl.Series, where: pl.Series) -> str:
    return text.filter(where)[0][:60]
