"""Points in time: every form is read exactly, and what cannot be read is refused with a true sentence."""

from datetime import UTC, date, datetime

import polars as pl
import pytest
from llmesr.prepare.sources import times
from llmesr.prepare.sources.times import BadTimeError, moment


def nanoseconds(*parts, nanosecond=0):
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 10**9 + nanosecond


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-31", nanoseconds(2024, 1, 31)),
        ("2024/1/31", nanoseconds(2024, 1, 31)),
        ("2017/8/18", nanoseconds(2017, 8, 18)),
        ("2024.01.31", nanoseconds(2024, 1, 31)),
        ("20240131", nanoseconds(2024, 1, 31)),
        ("2024-031", nanoseconds(2024, 1, 31)),
        ("2024-W05-3", nanoseconds(2024, 1, 31)),
        ("31.01.2024", nanoseconds(2024, 1, 31)),
        ("2024-01-31T10", nanoseconds(2024, 1, 31, 10)),
        ("2024-01-31T10:30", nanoseconds(2024, 1, 31, 10, 30)),
        ("2024-01-31 10:30:15", nanoseconds(2024, 1, 31, 10, 30, 15)),
        ("2024-01-31t10:30:15z", nanoseconds(2024, 1, 31, 10, 30, 15)),
        ("20240131T103015Z", nanoseconds(2024, 1, 31, 10, 30, 15)),
        ("2024-01-31T10:00:00,5", nanoseconds(2024, 1, 31, 10, nanosecond=500_000_000)),
        ("2024-01-31T10:00:00.123456789", nanoseconds(2024, 1, 31, 10, nanosecond=123_456_789)),
        ("2024-01-31T10,5", nanoseconds(2024, 1, 31, 10, 30)),
        ("2024-01-31T10:30.5", nanoseconds(2024, 1, 31, 10, 30, 30)),
        ("2024-01-31T24:00:00", nanoseconds(2024, 2, 1)),
        ("2016-12-31T23:59:60", nanoseconds(2017, 1, 1)),
        ("2024-01-31T10:00:00+02:00", nanoseconds(2024, 1, 31, 8)),
        ("2024-01-31T10:00:00-0330", nanoseconds(2024, 1, 31, 13, 30)),
        ("2024-01-31T10:00:00+02", nanoseconds(2024, 1, 31, 8)),
        ("2024-01-31 10:00:00 UTC", nanoseconds(2024, 1, 31, 10)),
        ("2024-01-31 9:05 PM", nanoseconds(2024, 1, 31, 21, 5)),
        ("2024-01-31 12:05 am", nanoseconds(2024, 1, 31, 0, 5)),
        ("1969-12-31", -86_400 * 10**9),
    ],
)
def test_forms_of_a_date_by_hand(text, expected):
    assert moment(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("2024-02-30", "is no day of the calendar"),
        ("2023-366", "is no day of the calendar"),
        ("2024-000", "is no day of the calendar"),
        ("2024-W54-1", "is no day of the calendar"),
        ("32.01.2024", "is no day of the calendar"),
        ("2024-01-31T25:00", "is no time of day"),
        ("2024-01-31T24:00:01", "is no time of day"),
        ("2024-01-31T10:60", "is no time of day"),
        ("2024-01-31 13:00 PM", "is no time of day"),
        ("2024-01-31T10:00+25:00", "has no such time zone"),
        ("31/01/2024", "may have the day or the month first"),
        ("soon", "is neither a number nor an ISO date"),
        ("2024-01-31T", "is neither a number nor an ISO date"),
        ("31.01.24", "is neither a number nor an ISO date"),
        ("", "is neither a number nor an ISO date"),
    ],
)
def test_what_is_no_date_is_refused_with_the_reason(text, problem):
    with pytest.raises(ValueError, match=problem):
        moment(text)


@pytest.mark.parametrize(
    ("values", "order"),
    [
        (["1700000000000000001", "1700000000000000002", "1700000000000000000"], [2, 0, 1]),  # beyond float64
        (["1700000000.123456789", "1700000000.123456788", "1700000000"], [2, 1, 0]),
        (["1e9", "2.5e8", "1000000001"], [1, 0, 2]),
        (["+5", "-3", "0"], [1, 2, 0]),
        (["2024-01-01", "2023-12-31T23:59", "2024-01-01 00:00:00.000000001"], [1, 0, 2]),
        (["3/2/2024", "14/1/2024", "1/3/2024"], [1, 0, 2]),  # the second tells that the day comes first
        (["3/2/2024 8:26", "1/14/2024 8:25", "1/3/2024 23:00"], [2, 1, 0]),
        (["2024-01-01T10:00:00+02:00", "2024-01-01T09:00:00Z", "2024-01-01 08:30"], [0, 2, 1]),
        (["9999-12-31", "0001-01-01", "2024-01-01"], [1, 2, 0]),  # stand for never, in some files
    ],
)
def test_columns_of_text_are_ordered_exactly(values, order):
    found = times.read(pl.Series(values))
    assert found.arg_sort().to_list() == order
    assert found.n_unique() == len(values)


def test_a_column_keeps_the_unit_that_it_needs():
    assert times.read(pl.Series(["2024-01-01"])).dtype == pl.Datetime("us")
    assert times.read(pl.Series(["2024-01-01T00:00:00.0000001"])).dtype == pl.Datetime("ns")
    assert times.read(pl.Series(["12", "13"])).to_list() == [12, 13]


def test_columns_of_numbers_and_dates_stay_what_they_are():
    whole = pl.Series([1_700_000_000_000_000_001, 3])
    assert times.read(whole).to_list() == whole.to_list()
    assert times.read(pl.Series([1.5, 2.0])).to_list() == [1.5, 2.0]
    assert times.read(pl.Series([date(2024, 1, 1)])).to_list() == [datetime(2024, 1, 1)]
    fine = pl.Series([1_700_000_000_000_000_001]).cast(pl.Datetime("ns", "Europe/Berlin"))
    assert times.read(fine).dt.timestamp("ns").to_list() == [1_700_000_000_000_000_001]
    assert times.read(pl.Series(["2", "1"], dtype=pl.Categorical)).to_list() == [2, 1]


@pytest.mark.parametrize(
    ("column", "row", "problem"),
    [
        (pl.Series([1.0, float("nan"), 3.0]), 1, "nan is no point in time"),
        (pl.Series([1.0, float("inf")]), 1, "inf is no point in time"),
        (pl.Series([1, None, 3]), 1, "no point in time"),
        (pl.Series([date(2024, 1, 1), None]), 1, "no point in time"),
        (pl.Series([True, False]), 0, "type Boolean, which is no point in time"),
        (pl.Series(["1", "2", "nan"]), 2, "'nan' is neither a number nor an ISO date"),
        (pl.Series(["1", "2", "2024-01-01"]), 2, "'2024-01-01' is a date, and other rows have numbers"),
        (pl.Series(["2024-01-01", "2024-01-02", "5"]), 2, "'5' is neither a number nor an ISO date"),
        (pl.Series(["1", ""]), 1, "no point in time"),
        (pl.Series(["1", "99999999999999999999"]), 1, "'99999999999999999999' is too large"),
        (pl.Series(["1", "1e999"]), 1, "'1e999' is too large"),
        (pl.Series(["2/1/2024", "1/2/2024"]), 0, "may have the day or the month first"),
        (pl.Series(["2500-01-01", "2024-01-01T00:00:00.000000001"]), 0, "outside of what nanoseconds can tell"),
    ],
)
def test_a_bad_row_is_named(column, row, problem):
    with pytest.raises(BadTimeError, match=problem) as found:
        times.read(column)
    assert found.value.row == row


def test_no_rows_are_no_fault():
    assert times.read(pl.Series([], dtype=pl.String)).is_empty()


def test_a_form_that_is_set_is_used():
    found = times.read(pl.Series(["03 Feb 2024", "14 Jan 2024"]), "%d %b %Y")
    assert found.to_list() == [datetime(2024, 2, 3), datetime(2024, 1, 14)]
    assert times.read(pl.Series(["1/2/2024"]), "%d/%m/%Y").to_list() == [datetime(2024, 2, 1)]
    with pytest.raises(BadTimeError, match=r"'soon' is not written like 'time_format' \(%Y\)"):
        times.read(pl.Series(["2024", "soon"]), "%Y")


def test_mixed_seconds_and_milliseconds_are_said(capsys):
    times.read(pl.Series([1_700_000_000, 1_700_000_000_123]))
    assert "seconds and milliseconds seem to be mixed" in capsys.readouterr().err
    times.read(pl.Series([1_700_000_000, 1_800_000_000]))
    assert not capsys.readouterr().err
