"""Folders as people bring them: missing parts, two files of one name, marks of spreadsheets and databases."""

import gzip

import polars as pl
import pytest
from llmesr.errors import InputError
from llmesr.prepare.sources import load_raw, recognised
from llmesr.settings import DatasetSettings

HEADER = "user_id,item_id,timestamp\n"
ROWS = HEADER + "u,a,1\nu,b,2\nv,c,3\n"
ITEMS = "item_id,title\na,Apple\nb,Banana\nc,Cherry\n"


def pairs(raw):
    return raw.interactions.select("user_id", "item_id").rows()


# --- files ---


def test_a_missing_part_is_named(read, tmp_path):
    with pytest.raises(InputError, match=r"parts 1 of 3 .*missing: add them"):
        read({"train-00000-of-00003.csv": ROWS, "train-00002-of-00003.csv": ROWS})


@pytest.mark.parametrize("stem", ["interactions", "items", "users", "texts"])
def test_two_files_of_one_name_are_asked_about(read, stem):
    files = {"interactions.csv": ROWS, "items.csv": ITEMS, f"{stem}.csv": ROWS, f"{stem}.tsv": ROWS}
    with pytest.raises(InputError, match=rf"has {stem}.csv and {stem}.tsv: leave one of them there"):
        read(files)


def test_a_link_to_nothing_is_named(read, tmp_path):
    (tmp_path / "items.csv").symlink_to(tmp_path / "elsewhere.csv")
    with pytest.raises(InputError, match=r"items.csv is no file that can be read: it is a link to nothing"):
        read({"interactions.csv": ROWS})


def test_a_folder_of_parts_in_a_table_s_place_gets_advice(read):
    part = pl.DataFrame({"user_id": ["u"], "item_id": ["a"], "timestamp": [1]})
    with pytest.raises(InputError, match=r"interactions.parquet is a folder of parts: make one file of them"):
        read({"interactions.parquet/part-0.parquet": part})


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("orders.xlsx", r"orders.xlsx: save it as CSV"),
        ("orders.zip", r"orders.zip: unpack it"),
        ("orders.tar.bz2", r"orders.tar.bz2: unpack it"),
        ("Interactions.CSV", r"Interactions.CSV: write the name in lower case"),
        ("raw/interactions.csv", r"raw/: move its tables up, or set 'folder'"),
        ("events/day=1/part-0.csv", r"events/: make one table of the parts that lie in its folders"),
    ],
)
def test_what_cannot_be_read_as_it_is_gets_advice(read, name, advice):
    with pytest.raises(InputError, match=r"interactions.csv or .parquet is missing: .*" + advice):
        read({name: ROWS})


@pytest.mark.parametrize(
    ("name", "content", "advice"),
    [
        (
            "interactions.csv",
            gzip.compress(ROWS.encode(), mtime=0),
            r"is compressed by gzip: call it interactions.csv.gz",
        ),
        ("interactions.csv.gz", ROWS, r"is not compressed: call it interactions.csv$"),
        ("interactions.csv", b"PK\x03\x04" + bytes(60), r"is a spreadsheet or a zip archive: save its table as CSV"),
        ("interactions.tsv", b"PAR1" + bytes(60), r"is in parquet: call it interactions.parquet"),
        ("interactions.parquet", ROWS, r"is not in parquet: call it \.csv, \.tsv or \.jsonl"),
    ],
    ids=["gzip as csv", "csv as gzip", "zip as csv", "parquet as tsv", "csv as parquet"],
)
def test_an_ending_that_does_not_fit_is_named(read, name, content, advice):
    with pytest.raises(InputError, match=advice):
        read({name: content, "items.csv": ITEMS})


def test_files_that_differ_in_numbers_only_are_parts(read, capsys):
    months = {"orders_2024-2.csv": HEADER + "u,c,3\n", "orders_2024-10.csv": HEADER + "v,c,4\n"}
    raw = read({**months, "items.csv": ITEMS})
    assert pairs(raw) == [("u", "c"), ("v", "c")]  # February before October
    assert "orders_2024-2.csv, orders_2024-10.csv are read as parts of one table" in capsys.readouterr().err


# --- headers and places ---


@pytest.mark.parametrize("first", ["sep=,", "# exported on Monday", "% bip unweighted"])
def test_what_stands_above_the_header_is_left_out(read, first):
    assert pairs(read({"interactions.csv": f"{first}\n{ROWS}", "items.csv": ITEMS})) == [
        ("u", "a"),
        ("u", "b"),
        ("v", "c"),
    ]
    with pytest.raises(InputError, match=r"interactions.csv, line 6: 'item_id' is empty"):
        read({"interactions.csv": f"{first}\n{ROWS}w,,4\n"})


def test_places_leave_other_tables_and_headers_alone(read):
    places = {"user_id": 2, "item_id": 1, "timestamp": 3}
    rows = ROWS.removeprefix(HEADER).replace("u,a", "a,u").replace("u,b", "b,u").replace("v,c", "c,v")
    expected = [("u", "a"), ("u", "b"), ("v", "c")]
    assert pairs(read({"interactions.csv": rows, "items.csv": ITEMS}, columns=places)) == expected
    assert pairs(read({"interactions.csv": "was,wer,wann\n" + rows}, columns=places)) == expected


# --- cells ---


def test_a_day_and_its_time_of_day_may_stand_in_two_columns(read):
    rows = "user_id,item_id,date,time\nu,b,2024-01-01,10:00\nu,a,2024-01-01,09:00:30\n"
    times = read({"interactions.csv": rows, "items.csv": ITEMS}).interactions["timestamp"]
    assert [str(time) for time in times] == ["2024-01-01 10:00:00", "2024-01-01 09:00:30"]


@pytest.mark.parametrize(
    ("here", "there"), [("118.0", "118"), ("118", "118.0"), ("00118", "118"), ("118", "00118"), ("AbC", "ABC")]
)
def test_ids_that_two_tables_write_differently_are_named(read, here, there):
    with pytest.raises(InputError, match=rf"ids .*written differently.*'{here}'.*'{there}'.*: write both alike"):
        read({"interactions.csv": f"{HEADER}u,{here},1\n", "items.csv": f"item_id,title\n{there},Apple\n"})


@pytest.mark.parametrize("role", ["user_id", "item_id"])
def test_ids_that_a_spreadsheet_rounded_are_refused(read, role):
    row = {"user_id": "u", "item_id": "a", role: "4.00638E+12"}
    with pytest.raises(
        InputError, match=rf"line 2: '{role}' is '4.00638E\+12', a number that a spreadsheet has rounded"
    ):
        read({"interactions.csv": f"{HEADER}{row['user_id']},{row['item_id']},1\n"})


def test_words_for_nothing_are_no_attributes(read):
    items = "item_id,title,brand\na,Apple,\\N\nb,Banana,N/A\nc,Cherry,NULL\n"
    assert read({"interactions.csv": ROWS, "items.csv": items}).items["brand"].to_list() == [None] * 3


def test_signs_alone_are_no_titles(read, capsys):
    items = "item_id,title,brand\na,-,x\nb,-,y\nc,Cherry,z\n"
    assert read({"interactions.csv": ROWS, "items.csv": items}).items["title"].to_list() == [None, None, "Cherry"]
    assert "2 of 3 items have no usable title" in capsys.readouterr().err


def test_titles_that_differ_from_row_to_row_are_said(read, capsys):
    rows = "user_id,item_id,timestamp,title\nu,a,1,Apple\nv,a,2,Apple pie\nv,b,3,Banana\n"
    assert read({"interactions.csv": rows}).items["title"].to_list() == ["Apple", "Banana"]
    assert "1 items have several titles ('a': 'Apple' and 'Apple pie'): the first one counts" in capsys.readouterr().err


def test_parts_written_by_another_tool_keep_their_order(tmp_path):
    for part, item in (("0", "a"), ("1", "b")):
        frame = pl.DataFrame({"user_id": ["u"], "item_id": [item]})
        frame.write_parquet(tmp_path / f"part-{part}.parquet")
    assert pairs(load_raw(tmp_path, DatasetSettings())) == [("u", "a"), ("u", "b")]


def test_blanks_within_texts_are_no_separators(read):
    rows = "".join(f"{user}\tArtist {item}\t17000000{user}{item}\n" for user in (1, 2, 3) for item in (1, 2))
    raw = read({"interactions.tsv": rows})
    assert pairs(raw)[:2] == [("1", "Artist 1"), ("1", "Artist 2")]


def test_quotes_may_have_a_backslash(read):
    items = '"item_id";"title"\n"a";"The \\"old\\"; one"\n"b";"B"\n"c";"C"\n'
    assert read({"interactions.csv": ROWS, "items.csv": items}).items["title"][0] == 'The "old"; one'


def test_an_encoding_that_is_set_is_not_for_a_table_that_cannot_have_it(read):
    raw = read({"interactions.csv": ROWS.encode("utf-16-le"), "items.csv": ITEMS}, encoding="utf-16-le")
    assert raw.items["title"].to_list() == ["Apple", "Banana", "Cherry"]


@pytest.mark.parametrize(
    "records",
    [
        '{"status": "ok", "data": [{"user_id": 1, "item_id": 2}]}',
        '{"uid28": {"x": {"ts": 1}}}',
        '{"user_id": {"0": 1, "1": 2}, "item_id": {"0": 1, "1": 2}}',
    ],
)
def test_one_object_that_holds_everything_is_named(read, records):
    with pytest.raises(InputError, match=r"interactions.json is one JSON object, no list of records"):
        read({"interactions.json": records})
    assert pairs(read({"interactions.json": '{"user_id": 1, "item_id": 2, "more": [3]}'})) == [("1", "2")]


def test_a_web_page_is_named(read):
    with pytest.raises(InputError, match=r"interactions.csv is a web page: get the table itself"):
        read({"interactions.csv": "<!DOCTYPE html>\n<html><body>Sign in, please</body></html>\n"})


# --- times ---


@pytest.mark.parametrize("time", ["10 April 2024", "Wed Apr 10 10:56:06 -0800 2024", "1712746566", "1.713e+09"])
def test_any_time_under_an_unknown_name_is_asked_about(read, time):
    files = {"interactions.csv": f"user_id,item_id,finished_on\nu,a,{time}\n", "items.csv": ITEMS}
    with pytest.raises(InputError, match=r"but 'finished_on' holds points in time .*'columns: \{timestamp: rows\}'"):
        read(files)
    assert read(files, columns={"timestamp": "rows"}).interactions["timestamp"].to_list() == [1]


@pytest.mark.parametrize("days", [("10042024", "02042024"), ("12312024", "01022025")])
def test_days_whose_digits_do_not_sort_are_refused(read, days):
    rows = "".join(f"u,{item},{day}\n" for item, day in zip("ab", days, strict=True))
    with pytest.raises(InputError, match=r"line 2: timestamp .* seems to be a day, whose digits do not sort by time"):
        read({"interactions.csv": HEADER + rows, "items.csv": ITEMS})


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (("0", "1712746566"), "1 of 2 times are 0 or less"),
        (("-1", "1712746566"), "1 of 2 times are 0 or less"),
        (("9999-12-31", "2024-04-10"), "1 of 2 times lie beyond 2100"),
    ],
)
def test_times_that_stand_for_none_are_said(read, capsys, times, said):
    rows = "".join(f"u,{item},{time}\n" for item, time in zip("ab", times, strict=True))
    read({"interactions.csv": HEADER + rows, "items.csv": ITEMS})
    assert said in capsys.readouterr().err


def test_times_of_the_items_are_said(read, capsys):
    rows = "".join(f"{user},{item},{year}-01-01\n" for user in "uvw" for item, year in (("a", 1968), ("b", 1970)))
    read({"interactions.csv": HEADER + rows, "items.csv": ITEMS})
    assert "all rows of an item have the same time" in capsys.readouterr().err


# --- ids and titles ---


@pytest.mark.parametrize("catalogue", ["items.csv", "fruit.csv"])
def test_columns_of_the_interactions_leave_the_items_alone(read, catalogue):
    rows = ROWS.replace("item_id", "what")
    raw = read({"interactions.csv": rows, catalogue: ITEMS}, columns={"item_id": "what"})
    assert pairs(raw)[0] == ("u", "a")
    assert raw.items["title"][0] == "Apple"


def test_several_items_in_a_cell_are_said(read, capsys):
    read({"interactions.csv": f"{HEADER}u,a;b,1\nu,b;c,2\nv,a;c,3\nv,c;b,4\n"})
    assert "item ids such as" in capsys.readouterr().err


def test_users_who_differ_in_capitals_only_are_said(read, capsys):
    read({"interactions.csv": f"{HEADER}Anna@x.de,a,1\nanna@x.de,b,2\n", "items.csv": ITEMS})
    assert "1 user ids of" in capsys.readouterr().err


def test_ids_that_excel_keeps_as_text_are_ids(read):
    items = 'item_id,title\n"=""a""",Apple\n"=""b""",Banana\n"=""c""",Cherry\n'
    assert read({"interactions.csv": ROWS, "items.csv": items}).items["item_id"].to_list() == ["a", "b", "c"]


def test_ids_that_are_names_are_titles(read):
    raw = read({"interactions.csv": f"{HEADER}u,Oak Clock,1\nu,Red Lamp,2\n"})
    assert raw.items["title"].to_list() == ["Oak Clock", "Red Lamp"]


def test_signs_of_html_in_titles_are_read(read):
    items = "item_id,title\na,Salt &amp; Pepper\nb,B\nc,C\n"
    assert read({"interactions.csv": ROWS, "items.csv": items}).items["title"][0] == "Salt & Pepper"


# --- the same once more, in other formats ---


def test_a_bad_line_of_json_is_named(read):
    good = '{"user_id": "u", "item_id": "a", "timestamp": 1}\n'
    content = good + '{"user_id": \n' + good
    with pytest.raises(InputError, match=r"interactions.jsonl, line 2: malformed JSON"):
        read({"interactions.jsonl": content})


def test_a_mark_at_the_start_is_no_part_of_a_name(read):
    raw = read({"interactions.csv": b"\xef\xbb\xbf" + ROWS.encode(), "items.csv": b"\xef\xbb\xbf" + ITEMS.encode()})
    assert pairs(raw) == [("u", "a"), ("u", "b"), ("v", "c")]
    assert raw.items.columns == ["item_id", "title"]
    raw = read({"interactions.csv": ROWS, "items.csv": b"\xef\xbb\xbfbrand,item_id,title\nX,a,A\nX,b,B\nX,c,C\n"})
    assert "brand" in raw.items.columns


def test_an_unnamed_index_is_no_attribute(read, capsys):
    items = ",item_id,title\n0,a,Apple\n1,b,Banana\n2,c,Cherry\n"
    assert read({"interactions.csv": ROWS, "items.csv": items}).items.columns == ["item_id", "title"]
    assert "only counts the rows" in capsys.readouterr().err


def test_a_message_names_some_columns_of_many(read):
    names = [f"column_{i}" for i in range(300)]
    with pytest.raises(InputError) as error:
        read({"interactions.csv": ",".join(["user_id", *names]) + "\n" + ",".join(["1"] * 301) + "\n"})
    assert "column_5" in str(error.value)
    assert "column_200" not in str(error.value)


def test_the_types_that_recbole_writes_are_no_part_of_names(read):
    files = {
        "shop.inter": "user_id:token\titem_id:token\ttimestamp:float\nu\ta\t1\n",
        "shop.item": "item_id:token\ttitle:token_seq\tprice:float\na\tApple\t3\n",
    }
    assert read(files).items.columns == ["item_id", "title", "price"]


@pytest.mark.parametrize(
    ("names", "known"),
    [
        (["yelp_academic_dataset_review.json", "yelp_academic_dataset_business.json"], "yelp"),
        (["transactions.parquet", "products.parquet", "demographics.parquet"], "complete-journey"),
        (["ratings.csv", "movies.csv"], "movielens"),
        (["notes.txt"], None),
    ],
)
def test_known_formats_are_recognised_by_their_files(tmp_path, names, known):
    for name in names:
        (tmp_path / name).write_text("")
    assert recognised(tmp_path) == known


@pytest.mark.parametrize(
    ("line", "known"), [('{"parent_asin": "a", "asin": "b"}', "amazon-2023"), ('{"asin": "b"}', "amazon-2018")]
)
def test_amazons_releases_are_told_apart(tmp_path, line, known):
    (tmp_path / "meta_Toys.jsonl").write_text(line + "\n")
    (tmp_path / "Toys.jsonl").write_text("{}\n")
    assert recognised(tmp_path) == known
