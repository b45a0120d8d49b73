"""What is valid and still looks wrong is said; what cannot be meant is refused, with the cause."""

import polars as pl
import pytest
from llmesr import prepare
from llmesr.errors import InputError

HEADER = "user_id,item_id,timestamp\n"
ROWS = HEADER + "u,a,1\nu,b,2\nv,c,3\n"
ITEMS = "item_id,title\na,Apple\nb,Banana\nc,Cherry\n"


# --- ids ---


def test_bytes_are_ids_in_hexadecimal_digits_unless_all_are_text(read, capsys):
    frame = pl.DataFrame(
        {"user_id": [b"\t\n\x0b\x0c", b"\x00\x00\x00\x09"], "item_id": [b"a", b"b"], "timestamp": [1, 2]}
    )
    raw = read({"interactions.parquet": frame})
    assert raw.interactions["user_id"].to_list() == ["090a0b0c", "00000009"]
    assert raw.interactions["item_id"].to_list() == ["a", "b"]
    assert "'user_id' holds bytes, which are written in hexadecimal digits" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["#N/A", "N/A", "n/a", "(null)", "nil", "undefined", "-", "?", "#REF!"])
def test_what_stands_for_no_id_is_refused(read, word):
    with pytest.raises(InputError, match=r"line 2: 'user_id' is empty"):
        read({"interactions.csv": ROWS.replace("u,a", f"{word},a", 1)})


@pytest.mark.parametrize("word", ["guest", "0", "-1", "Anonymous", "NA"])
def test_a_busy_user_who_may_be_nobody_is_named(read, capsys, word):
    rows = "".join(f"{word},a,{time}\n" for time in range(9)) + "".join(f"u{n},b,{n}\n" for n in range(9))
    read({"interactions.csv": HEADER + rows})
    assert f"user '{word}' has 9 of 18 interactions and may stand for everybody" in capsys.readouterr().err


def test_an_ordinary_user_of_such_a_name_is_not(read, capsys):
    read({"interactions.csv": HEADER + "".join(f"{n},a,{n}\n{n},b,{n}\n" for n in range(9))})
    assert "may stand for" not in capsys.readouterr().err


def test_signs_without_width_are_no_part_of_an_id(read):
    raw = read({"interactions.csv": ROWS.replace("u,b", "u\u200b,b\ufeff")})
    assert raw.interactions.select("user_id", "item_id").rows() == [("u", "a"), ("u", "b"), ("v", "c")]


def test_whole_records_are_no_ids(read):
    line = '{"user_id": "u", "items": [{"item_id": "a", "item_name": "Lamp"}], "timestamp": 1}\n'
    with pytest.raises(InputError, match=r"line 1: 'item_id' holds whole records \('item_id: a, item_name: Lamp'\)"):
        read({"interactions.jsonl": line * 2}, columns={"item_id": "items"})


def test_a_title_that_looks_like_a_record_is_an_id(read):
    raw = read({"interactions.csv": HEADER + 'u,"Batman: Year One, Part: 2",1\nu,Alien,2\nv,Heat,3\n'})
    assert raw.interactions["item_id"][0] == "Batman: Year One, Part: 2"


def test_several_items_in_a_cell_are_said_and_refused_where_the_items_are_known(read, capsys):
    rows = HEADER + 'u,"1,2",1\nv,3,2\n'
    read({"interactions.csv": rows})
    assert "item ids such as '1,2' look like several items in a cell" in capsys.readouterr().err
    items = "item_id,title\n1,One\n2,Two\n3,Three\n"
    with pytest.raises(InputError, match=r"line 2: '1,2' looks like several items in a cell: write a row for each"):
        read({"interactions.csv": rows, "items.csv": items})


def test_names_with_commas_are_no_lists(read, capsys):
    read({"interactions.csv": HEADER + 'u,"Lamp, red",1\nv,"Chair, blue",2\n'})
    assert "several items in a cell" not in capsys.readouterr().err


# --- items ---


def test_ids_that_stand_in_another_column_are_found(read):
    with pytest.raises(InputError, match=r"are in the column 'id' of items.csv, and 'item_id' was taken from another"):
        read({"interactions.csv": ROWS, "items.csv": "id,sku,name\na,S1,Apple\nb,S2,Banana\nc,S3,Cherry\n"})


def test_no_id_in_common_is_told_from_a_missing_one(read):
    with pytest.raises(InputError, match=r"no item of .*interactions.csv \('a'\) is in items.csv \('x' there\)"):
        read({"interactions.csv": ROWS, "items.csv": "item_id,title\nx,Ex\n"})
    with pytest.raises(InputError, match=r"items.csv has no rows: put the items there, or delete the file"):
        read({"interactions.csv": ROWS, "items.csv": "item_id,title\n"})
    with pytest.raises(
        InputError, match=r"line 4: item 'c' is not in items.csv: add it there or delete the row \(1 rows"
    ):
        read({"interactions.csv": ROWS, "items.csv": ITEMS.replace("c,Cherry\n", "")})


# --- rows that may be no interactions ---


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("label", "101", "1 of 3 rows have a 'label' of 0 or less"),
        ("Quantity", ["2", "-6", "1"], "1 of 3 rows have a 'Quantity' of 0 or less"),
        ("event_type", ["view", "remove_from_cart", "view"], "whatever 'event_type' says ('view', 'remove_from_cart')"),
    ],
)
def test_a_column_that_may_say_no_is_named(read, capsys, column, values, said):
    rows = zip(ROWS.splitlines()[1:], values, strict=True)
    read({"interactions.csv": f"user_id,item_id,timestamp,{column}\n" + "".join(f"{row},{v}\n" for row, v in rows)})
    assert said in capsys.readouterr().err


def test_ordinary_ratings_are_not(read, capsys):
    read({"interactions.csv": "user_id,item_id,timestamp,rating\nu,a,1,5\nu,b,2,0.5\nv,c,3,4\n"})
    assert "'rating'" not in capsys.readouterr().err


# --- files ---


def test_tables_that_are_not_read_are_named(read, capsys):
    read({"interactions.csv": ROWS, "interactions_2.csv": ROWS, "wishlist.csv": ROWS, "README.txt": "x"})
    assert "interactions_2.csv, wishlist.csv are not read" in capsys.readouterr().err
    read({"interactions.csv": ROWS, "triples.csv": "a,b,c\n"})


@pytest.mark.parametrize(("file", "key"), [("users.csv", "user_id"), ("texts.csv", "item_id")])
def test_tables_of_others_are_named(read, capsys, file, key):
    content = {"users.csv": "user_id,age\nU1,30\n", "texts.csv": "user_id,item_id,timestamp,text\nu,zz,1,nice\n"}
    read({"interactions.csv": ROWS, file: content[file]})
    assert f"no {key} of " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("Orders export\n" + ROWS, r"line 2 has the names of the columns, and other lines stand above it"),
        ("Report\n\n" + ROWS, r"line 3 has the names of the columns"),
        (HEADER + '"u,a,""1"""\n', r"line 2 stands in quotes as a whole"),
        (HEADER + "u;a;1\n", r"line 2 has a semicolon between its fields, the header a comma"),
        (
            " user_id | item_id \n---------+---------\n u       | a\n(1 row)\n",
            r"is what a database's shell shows on the screen",
        ),
        ("+---------+---------+\n| user_id | item_id |\n+---------+---------+\n| u | a |\n", r"database's shell shows"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", r"is a pointer of Git LFS, not the table"),
    ],
)
def test_lines_that_are_not_as_the_header_says_are_named(read, content, problem):
    with pytest.raises(InputError, match=problem):
        read({"interactions.csv": content})


def test_a_wrong_separator_in_the_settings_is_blamed(read):
    with pytest.raises(
        InputError, match=r"has a single column if it is split at 'separator: ';''.*correct 'separator'"
    ):
        read({"interactions.csv": ROWS}, separator=";")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{\n  "page": 1,\n  "data": []\n}\n', "has JSON objects over several lines"),
        ('{"user_id": "u", "item_id": "a"}{"user_id": "v", "item_id": "b"}\n', "has several JSON objects on a line"),
    ],
)
def test_json_that_is_not_one_object_a_line_is_told(read, content, problem):
    with pytest.raises(InputError, match=problem):
        read({"interactions.json": content})


# --- settings ---


def test_a_column_has_one_meaning(read):
    with pytest.raises(InputError, match=r"says that 'customer' is both user_id and item_id"):
        read({"interactions.csv": ROWS}, columns={"user_id": "customer", "item_id": "customer"})
    with pytest.raises(InputError, match=r"says that 'customer_id' of .* holds times, and it is the user's id"):
        read({"interactions.csv": "customer_id,item_id\nu,a\n"}, columns={"timestamp": "customer_id"})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"category": "Brand"}, r"key 'datasets.tiny.category' names 'Brand', which is no column of items: .*brand"),
        ({"user_attributes": ["age"]}, r"key 'datasets.tiny.user_attributes' names 'age', which is no column of users"),
    ],
)
def test_columns_that_settings_name_are_there(tiny, root, change, problem):
    settings = tiny.changed({f"data.{key}": value for key, value in change.items()})
    with pytest.raises(InputError, match=problem):
        prepare.run(settings)


# --- times ---


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ("27.03.2023 22.30", "2023-03-27 22:30:00"),
        ("27.03.2023 22.59.07", "2023-03-27 22:59:07"),
        ("2023-03-27 9.05", "2023-03-27 09:05:00"),
    ],
)
def test_a_time_of_day_may_have_dots(read, text, read_as):
    raw = read({"interactions.csv": HEADER + f"u,a,{text}\n"})
    assert str(raw.interactions["timestamp"][0]) == read_as


def test_times_that_a_spreadsheet_has_rounded_are_refused(read):
    with pytest.raises(
        InputError, match=r"line 3: timestamp '1.67835E\+12' is a number that a spreadsheet has rounded"
    ):
        read({"interactions.csv": HEADER + "u,a,1678350000001\nu,b,1.67835E+12\n"})


def test_days_in_digits_among_seconds_are_said(read, capsys):
    read({"interactions.csv": HEADER + "u,a,20230309\nu,b,1679956254\n"})
    assert "1 of 2 times look like days (20230309) and others like seconds (1679956254)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("time", ["12.5", "0.1", "3"], True),
        ("time", ["12", "1", "3"], False),  # an order
        ("time", ["881250949.5", "881250950", "881250951"], False),
        ("date", ["45000.5", "45001.25", "45002"], False),  # days as spreadsheets count them
        ("time", ["2024-01-01", "2024-01-02", "2024-01-03"], False),
    ],
)
def test_numbers_that_look_like_durations_are_said(read, capsys, name, values, said):
    rows = "".join(f"{user},{item},{value}\n" for user, item, value in zip("uuv", "abc", values, strict=True))
    read({"interactions.csv": f"user_id,item_id,{name}\n{rows}", "items.csv": ITEMS})
    assert ("if they are durations" in capsys.readouterr().err) == said


@pytest.mark.parametrize(
    ("titles", "said"),
    [
        (["CafÃ© crÃ¨me", "MÃ¼sli", "Tea"], True),
        (["Café crème", "Müsli", "Tea"], False),
        (["CafÃ©", "Müsli", "Crème"], False),  # a single one may be a name
        (["Чай", "Хлеб", "Tea"], False),
        (["Tea", "Bread", "Jam"], False),
    ],
)
def test_titles_that_were_encoded_twice_are_said(read, capsys, titles, said):
    rows = "".join(f"{item},{title}\n" for item, title in zip("abc", titles, strict=True))
    read({"interactions.csv": ROWS, "items.csv": f"item_id,title\n{rows}"})
    err = capsys.readouterr().err
    assert ("2 titles of" in err and "('CafÃ© crÃ¨me' for 'Café crème')" in err) == said


def test_a_day_and_an_hour_are_one_time(read):
    raw = read(
        {"interactions.csv": "user_id,item_id,date,hour\nu,a,2024-01-02,9\nu,b,2024-01-01,23\nv,c,2024-01-01,0\n"}
    )
    assert raw.interactions.sort("timestamp")["item_id"].to_list() == ["c", "b", "a"]


def test_a_column_called_hour_that_holds_no_hours_is_left_alone(read):
    raw = read(
        {"interactions.csv": "user_id,item_id,date,hour\nu,a,2024-01-02,9\nu,b,2024-01-01,40\nv,c,2024-01-01,0\n"}
    )
    assert raw.interactions["timestamp"].n_unique() == 2


def test_many_rows_without_a_user_are_counted(read):
    with pytest.raises(
        InputError, match=r"line 3: 'user_id' is empty: so are 2 of 4 rows: fill them, from the row above"
    ):
        read({"interactions.csv": HEADER + "u,a,1\n,b,2\n,c,3\nv,a,4\n", "items.csv": ITEMS})


def test_a_title_that_differs_within_most_items_is_none(read):
    rows = "email,Lineitem sku,Name\nu,a,#1\nu,b,#2\nv,a,#3\nv,b,#4\n"
    recipe = {"columns": {"user_id": "email"}}
    with pytest.raises(
        InputError, match=r"'Name' of .* differs within 2 of 2 items \('#1' and '#3'\), so it is no title"
    ):
        read({"orders.csv": rows}, **recipe)
    with_names = rows.replace("Name\n", "Name,Lineitem name\n").replace("#1", "#1,Tea").replace("#2", "#2,Jam")
    raw = read({"orders.csv": with_names.replace("#3", "#3,Tea").replace("#4", "#4,Jam")}, **recipe)
    assert raw.items.sort("item_id")["title"].to_list() == ["Tea", "Jam"]


def test_refunds_in_a_shop_system_s_columns_are_said(read, capsys):
    rows = "user_id,item_id,timestamp,Lineitem quantity,Financial Status,Discount\n"
    read({"interactions.csv": f"{rows}u,a,1,1,paid,0\nu,b,2,-1,refunded,0\nv,c,3,1,paid,5\n", "items.csv": ITEMS})
    err = capsys.readouterr().err
    assert "1 of 3 rows have a 'Lineitem quantity' of 0 or less" in err
    assert "whatever 'Financial Status' says" in err
    assert "Discount" not in err


def test_rows_that_are_there_twice_are_said(read, capsys):
    read({"interactions.csv": f"{ROWS}v,c,3\n", "items.csv": ITEMS})
    assert "2 rows of" in capsys.readouterr().err
    read({"interactions.csv": ROWS, "items.csv": ITEMS})
    assert "several times" not in capsys.readouterr().err
