"""Tables as people have them: other names, separators, encodings, endings; what is not clear is asked."""

import gzip
import json

import polars as pl
import pytest
from llmesr.errors import MOST, InputError
from llmesr.prepare.sources import load_raw
from llmesr.settings import DatasetSettings

ITEMS = "item_id,title\na,Apple\nb,Banana\nc,Cherry\n"
ROWS = [("u", "a", 1), ("u", "b", 2), ("v", "c", 3)]


@pytest.fixture
def folder(tmp_path):
    """Write files, as text or as bytes, and return their folder."""

    def write(**files):
        for name, content in files.items():
            path = tmp_path / name.replace("__", ".")
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path

    return write


def read(folder, **keys):
    return load_raw(folder, DatasetSettings(**keys))


def triples(raw):
    return raw.interactions.select("user_id", "item_id", "timestamp").rows()


def csv(header="user_id,item_id,timestamp", by=",", end="\n", rows=ROWS):
    return end.join([header.replace(",", by), *(by.join(map(str, row)) for row in rows)]) + end


@pytest.mark.parametrize(
    "content",
    [
        csv(),
        csv(by=";"),
        csv(by="\t"),
        csv(by="|"),
        csv(by="::"),
        csv(by=" "),
        csv(end="\r\n"),
        csv(end="\r"),
        "\ufeff" + csv(),
        csv() + "\n\n",
        "\n" + csv(),
        csv().replace("\n", ",\n"),  # a separator ends each line
        csv().replace("u,", '"u",').replace(",a", ',"a"'),
        csv("userId,movieId,timestamp"),
        csv("User ID,Item ID,Date"),
        csv("CustomerID,StockCode,InvoiceDate"),
        csv("user_id:token,item_id:token,timestamp:float", by="\t"),
        csv().encode("utf-16"),
        ",user_id,item_id,timestamp\n0,u,a,1\n1,u,b,2\n2,v,c,3\n",  # pandas' index
    ],
)
def test_any_way_to_write_a_table_is_read(folder, content):
    raw = read(folder(interactions__csv=content, items__csv=ITEMS))
    assert triples(raw) == ROWS
    assert raw.items.rows() == [("a", "Apple"), ("b", "Banana"), ("c", "Cherry")]


@pytest.mark.parametrize("ending", ["tsv", "txt", "dat", "inter", "csv.gz", "jsonl", "jsonl.gz", "json", "parquet"])
def test_any_ending_of_a_table_is_read(folder, tmp_path, ending):
    folder(items__csv=ITEMS)
    frame = pl.DataFrame(ROWS, schema=["user_id", "item_id", "timestamp"], orient="row")
    objects = [json.dumps(row) for row in frame.rows(named=True)]
    content = {
        "jsonl": "\n".join(objects).encode(),
        "jsonl.gz": gzip.compress("\n".join(objects).encode()),
        "json": ("[" + ",\n".join(objects) + "]").encode(),
        "csv.gz": gzip.compress(csv().encode()),
    }.get(ending, csv().encode())
    file = tmp_path / f"interactions.{ending}"
    frame.write_parquet(file) if ending == "parquet" else file.write_bytes(content)
    assert triples(read(tmp_path)) == ROWS


def test_columns_of_other_names_are_said_in_the_settings(folder):
    where = folder(interactions__csv=csv("who,what,at"), items__csv=ITEMS.replace("item_id", "what"))
    raw = read(where, columns={"user_id": "who", "item_id": "what", "timestamp": "at"})
    assert triples(raw) == ROWS
    assert raw.items["title"].to_list() == ["Apple", "Banana", "Cherry"]
    with pytest.raises(InputError, match=r"has no header that names users and items .*'who, what, at'"):
        read(where)
    with pytest.raises(InputError, match=r"lacks the column 'whom' \(it has who, what, at\)"):
        read(where, columns={"user_id": "whom", "item_id": "what", "timestamp": "at"})


def test_several_columns_that_could_be_meant_are_asked_about(folder):
    where = folder(interactions__csv=csv("reviewerID,CustomerID,item_id", rows=[(1, 2, "a")]), items__csv=ITEMS)
    with pytest.raises(
        InputError, match=r"'reviewerID' and 'CustomerID'.* could all be 'user_id': set 'columns: \{user"
    ):
        read(where)
    assert triples(read(where, columns={"user_id": "CustomerID"})) == [("2", "a", 1)]


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        ("1 10\n1 11\n2 12\n", {}),
        ("1\t10\t3\t881250949\n1\t11\t5\t881250950\n2\t12\t1\t881250951\n", {}),
        ("1,10,881250949\n1,11,881250950\n2,12,881250951\n", {}),
        ("1,10,4.5\n1,11,3\n2,12,5\n", {}),
        ("x,1,y,10\nx,1,y,11\nx,2,y,12\n", {"columns": {"user_id": 2, "item_id": 4}}),
    ],
)
def test_tables_without_a_header(folder, content, keys, capsys):
    raw = read(folder(interactions__csv=content), **keys)
    assert raw.interactions.sort("timestamp").select("user_id", "item_id").rows() == [
        ("1", "10"),
        ("1", "11"),
        ("2", "12"),
    ]
    assert raw.items["title"].to_list() == ["item 10", "item 11", "item 12"]
    assert "no table of items" in capsys.readouterr().err


def test_a_table_without_a_header_that_could_mean_several_things_is_asked_about(folder):
    with pytest.raises(InputError, match=r"has no header .*'a, b, c, d'.*set 'columns: \{user_id: 1, item_id: 2"):
        read(folder(interactions__csv="a,b,c,d\ne,f,g,h\n"))


def test_without_times_the_order_of_the_file_counts_and_is_said(folder, capsys):
    raw = read(folder(interactions__csv="user_id,item_id\nu,b\nu,a\n", items__csv=ITEMS))
    assert triples(raw) == [("u", "b", 1), ("u", "a", 2)]
    assert "has no times" in capsys.readouterr().err


@pytest.mark.parametrize("dates", [("2024-01-02", "2024-01-01"), ("31/01/2024", "01/02/2024")])
def test_dates_under_an_unknown_name_are_asked_about(folder, dates):
    rows = [("u", "a", dates[0]), ("u", "b", dates[1])]
    where = folder(interactions__csv=csv("user_id,item_id,visited_on", rows=rows), items__csv=ITEMS)
    with pytest.raises(
        InputError, match=rf"no column 'timestamp', but 'visited_on' holds points in time \('{dates[0]}'\): set"
    ):
        read(where)
    assert read(where, columns={"timestamp": "visited_on"}).interactions["timestamp"].dtype.is_temporal()


@pytest.mark.parametrize("word", ["NULL", "nan", "\\N", "(not set)", "<NA>"])
def test_words_for_no_id_are_no_ids(folder, word):
    for row in ((word, "a", 4), ("u", word, 4)):
        where = folder(interactions__csv=csv(rows=[*ROWS, row]), items__csv=ITEMS)
        with pytest.raises(InputError, match=r"interactions.csv, line 5: '(user|item)_id' is empty \('"):
            read(where)


def test_a_catalogue_may_have_a_name_of_its_own(folder, tmp_path, capsys):
    where = folder(
        rating__csv=csv("user_id,anime_id,timestamp"), anime__csv=ITEMS.replace("item_id,title", "anime_id,name")
    )
    assert read(where).items["title"].to_list() == ["Apple", "Banana", "Cherry"]
    assert "anime.csv is taken for the table of items" in capsys.readouterr().err
    folder(films__csv=ITEMS)
    with pytest.raises(
        InputError, match=r"several tables of items \(anime.csv, films.csv\): call the right one 'items'"
    ):
        read(where)


def test_a_title_may_be_named_by_its_place(folder):
    where = folder(interactions__csv="u,a,1,Apple\nu,b,2,Banana\n")
    raw = read(where, columns={"user_id": 1, "item_id": 2, "timestamp": 3, "title": 4})
    assert raw.items.rows() == [("a", "Apple"), ("b", "Banana")]


def test_titles_may_stand_in_the_interactions(folder, capsys):
    content = (
        "InvoiceNo,StockCode,Description,Category,UnitPrice,CustomerID,InvoiceDate\n"
        "1,a,RED MUG,Mugs,1.0,u,12/1/2010 8:26\n1,b,BLUE MUG,Mugs,2.0,u,12/13/2010 8:28\n"
        "2,a,RED MUG,Mugs,1.5,v,12/14/2010 9:00\n"
    )
    raw = read(folder(retail__csv=content))
    assert raw.items.rows(named=True) == [
        {"item_id": "a", "title": "RED MUG", "Category": "Mugs"},
        {"item_id": "b", "title": "BLUE MUG", "Category": "Mugs"},
    ]
    assert raw.interactions["timestamp"].dt.month().to_list() == [12, 12, 12]
    said = capsys.readouterr().err
    assert "retail.csv is taken for the table of interactions" in said
    assert "titles are read from 'Description'" in said


def test_recbole_files_need_no_conversion(folder):
    raw = read(
        folder(
            shop__inter=csv("user_id:token,item_id:token,timestamp:float", by="\t"),
            shop__item='item_id:token\ttitle:token_seq\tgenre:token_seq\na\t"Apple\tFruit\nb\tBanana\tFruit\nc\tCherry\t\n',
            shop__user="user_id:token\tage:token\nu\t20\nv\t30\n",
        )
    )
    assert triples(raw) == ROWS
    assert raw.items.rows() == [("a", '"Apple', "Fruit"), ("b", "Banana", "Fruit"), ("c", "Cherry", None)]
    assert raw.users.rows() == [("u", "20"), ("v", "30")]


def test_shards_and_split_files_are_parts_of_one_table(tmp_path):
    frame = pl.DataFrame(ROWS, schema=["user_id", "item_id", "timestamp"], orient="row")
    for part in (0, 1):
        frame.filter((pl.col("timestamp") == 3) == bool(part)).write_parquet(
            tmp_path / f"train-0000{part}-of-00002.parquet"
        )
    assert triples(read(tmp_path)) == ROWS
    for file in tmp_path.iterdir():
        file.unlink()
    for name, row in zip(("train", "valid", "test"), ROWS, strict=True):
        (tmp_path / f"Beauty.{name}.csv").write_text(csv("user_id,parent_asin,timestamp", rows=[row]))
    assert triples(read(tmp_path)) == ROWS


def test_several_tables_of_users_and_items_are_asked_about(folder):
    where = folder(clicks__csv=csv(), buys__csv=csv())
    with pytest.raises(
        InputError, match=r"several tables of users and items \(buys.csv, clicks.csv\): call one 'inter"
    ):
        read(where)


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"u__data": "1\t10\t3\t5\n", "u__item": "10|A (1990)|||" + "|0" * 19 + "\n"}, "movielens"),
        ({"ratings__csv": "userId,movieId,rating,timestamp\n1,10,3,5\n", "movies__csv": "10,A,B\n"}, "movielens"),
        (
            {"X__json": '{"reviewerID": "1", "asin": "10", "unixReviewTime": 5}\n', "meta_X__json": '{"asin": "10"}'},
            "amazon-2018",
        ),
        (
            {
                "reviews_X__json": '{"reviewerID": "1", "asin": "10", "unixReviewTime": 5}\n',
                "meta_X__json": "{'asin': '10'}",
            },
            "amazon-2014",
        ),
        (
            {
                "X__jsonl": '{"user_id": "1", "parent_asin": "10", "timestamp": 5}\n',
                "meta_X__jsonl": '{"parent_asin": "10"}',
            },
            "amazon-2023",
        ),
        (
            {
                "X__train__csv": "user_id,parent_asin,rating,timestamp\n1,10,5.0,5\n",
                "meta_X__jsonl": '{"parent_asin": "10"}',
            },
            "amazon-2023",
        ),
        ({"inter__txt": "1 10\n"}, "inter-txt"),
        ({"Beauty__txt": "1 10 11 12\n2 10\n"}, "inter-txt"),
        ({"ml__txt": "1 10\n1 11\n"}, "inter-txt"),
    ],
)
def test_known_formats_are_recognised_by_their_files(folder, capsys, files, name):
    raw = read(folder(**files))
    assert raw.interactions.row(0)[:2] == ("1", "10")
    assert f"holds the files of '{name}'" in capsys.readouterr().err


def test_a_missing_table_is_said_in_one_sentence_with_what_is_there(folder):
    with pytest.raises(
        InputError, match=r"interactions.csv or .parquet is missing: put the table there, or set 'format'"
    ):
        read(folder(readme__txt="hello"))
    with pytest.raises(InputError, match=r"'columns' if it is one of stuff.csv"):
        read(folder(stuff__csv="x,y\n1,2\n"))


# --- faults, and where they are ---


@pytest.mark.parametrize(
    ("interactions", "items", "message"),
    [
        (
            csv(),
            'item_id,title\na,"T\na\nlong\ntitle"\nb,B\nb,C\nc,C\n',
            r"items.csv, line 6: item id 'b' occurs twice",
        ),
        (csv(), 'item_id,title\na,A\nb,"B\nc,C\n', r"items.csv, line 3: a quote is not closed"),
        (csv(), 'item_id,title\na,A\nb,"12" pan"\nc,C\n', r"items.csv, line 3: a quote is not closed, or text follows"),
        (csv() + "u,a,4,5\n", ITEMS, r"interactions.csv, line 5: more fields than the header: quote a comma in it"),
        (csv(by="\t") + "u\ta\t4\t5\n", ITEMS, r"interactions.csv, line 5: .*quote a tab in it"),
        (csv() + "\n\nu,,4\n", ITEMS, r"interactions.csv, line 7: 'item_id' is empty"),
        (csv() + "u,z,4\n", ITEMS, r"interactions.csv, line 5: item 'z' is not in items.csv: .*\(1 rows like it\)"),
        (csv() + "u,a,\n", ITEMS, r"interactions.csv, line 5: 'timestamp' is empty"),
        ("user_id,user_id,item_id\nu,u,a\n", ITEMS, r"line 1: the column 'user_id' occurs twice"),
        ("", ITEMS, r"interactions.csv is empty"),
        (csv().encode("utf-16-le"), ITEMS, r"no text in UTF-8 \(it has bytes of zero\): .*'encoding'"),
        (csv() + "ü,a,4\n" + "ö,b,5\n" * 3, ITEMS, None),
        (
            (csv() + "é,a,4\n" * 5).encode() + b"\xff,b,5\n",
            ITEMS,
            r"interactions.csv, line 10: a byte that is no UTF-8",
        ),
    ],
)
def test_a_fault_is_named_with_the_line_that_an_editor_shows(folder, interactions, items, message):
    where = folder(interactions__csv=interactions, items__csv=items)
    if message is None:
        assert read(where).interactions.height == 7
        return
    with pytest.raises(InputError, match=message):
        read(where)


def test_a_column_may_be_called_line_and_missing_numbers_of_pandas_are_missing(folder, tmp_path):
    raw = read(folder(interactions__csv=csv(), items__csv="item_id,title,line\na,A,5\nb,B,6\nc,C,7\n"))
    assert raw.items["line"].to_list() == ["5", "6", "7"]
    (tmp_path / "items.csv").unlink()
    frame = pl.DataFrame({"item_id": ["a", "b", "c"], "title": ["A", "B", "C"], "year": [1990.0, float("nan"), None]})
    frame.write_parquet(tmp_path / "items.parquet")
    assert read(tmp_path).items["year"].to_list() == ["1990", None, None]
    frame = pl.DataFrame({"user_id": [1.0, float("nan")], "item_id": ["a", "b"], "timestamp": [1, 2]})
    (tmp_path / "interactions.csv").unlink()
    frame.write_parquet(tmp_path / "interactions.parquet")
    with pytest.raises(InputError, match=r"interactions.parquet, row 2: 'user_id' is empty"):
        read(tmp_path)


def test_a_fault_in_json_lines_and_in_a_list_is_named(folder):
    where = folder(interactions__csv=csv(), items__jsonl='{"item_id": "a", "title": "A"}\n\n{"item_id": \n')
    with pytest.raises(InputError, match=r"items.jsonl, line 3: malformed JSON"):
        read(where)
    folder(items__jsonl='[{"item_id": "a", "title": "A"}, 5]')
    with pytest.raises(InputError, match=r"items.jsonl is no list of JSON objects"):
        read(where)
    folder(items__jsonl='[{"item_id": "a",\n "title": "A"},\n {"item_id": "a",\n "title": "B"}]')
    with pytest.raises(InputError, match=r"items.jsonl, row 1: item id 'a' occurs twice"):
        read(where)


def test_bytes_of_windows_are_read_and_said(folder, capsys):
    raw = read(folder(interactions__csv=csv(), items__csv=ITEMS.replace("Cherry", "Crème brûlée").encode("cp1252")))
    assert raw.items["title"][2] == "Crème brûlée"
    assert "items.csv is not UTF-8 (first on line 4) and is read as Windows-1252" in capsys.readouterr().err
    raw = read(folder(items__csv=ITEMS.replace("Cherry", "Вишня").encode("koi8-r")), encoding="koi8-r")
    assert raw.items["title"][2] == "Вишня"


def test_quotes_inside_a_field_are_text(folder):
    raw = read(folder(interactions__csv=csv(), items__csv='item_id,title\na,12" pan\nb,"a ""big"" pan"\nc,C\n'))
    assert raw.items["title"].to_list() == ['12" pan', 'a "big" pan', "C"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([["A", "B"], ["C"]], "A, B, C"),
        ({"colour": "red", "sizes": [1, 2]}, "colour: red, sizes: 1, 2"),
        ([{"name": "A"}, {"name": "B"}], "name: A, name: B"),
        (5, "5"),
        (True, "True"),
        (None, None),
        ([], None),
        ("", None),
    ],
)
def test_whatever_a_cell_holds_becomes_text(folder, tmp_path, value, text):
    rows = [{"item_id": i, "title": i.upper(), "more": value} for i in "abc"]
    raw = read(folder(interactions__csv=csv(), items__jsonl="\n".join(map(json.dumps, rows))))
    assert raw.items["more"].to_list() == [text] * 3
    (tmp_path / "items.jsonl").unlink()
    pl.DataFrame(rows, strict=False).write_parquet(tmp_path / "items.parquet")
    flat = {"5": "5", "True": "true"}.get(text, text)  # as polars writes them
    assert read(tmp_path).items["more"].to_list() == [flat] * 3


def test_columns_of_parquet_that_are_no_text_are_read_or_refused_by_name(folder, tmp_path):
    folder(interactions__csv=csv())
    columns = {
        "kind": pl.Series(["x", "y", "x"], dtype=pl.Categorical),
        "when": pl.Series(["2024-01-01"] * 3).str.to_date(),
        "bytes": pl.Series([b"p", b"q", b"r"]),
        "pairs": pl.Series([[1, 2]] * 3, dtype=pl.Array(pl.Int64, 2)),
    }
    items = pl.DataFrame({"item_id": ["a", "b", "c"], "title": ["A", "B", "C"], **columns})
    items.write_parquet(tmp_path / "items.parquet")
    assert read(tmp_path).items.row(0) == ("a", "A", "x", "2024-01-01", "p", "1, 2")
    items.with_columns(pl.Series("bytes", [b"\xff\xfe"] * 3)).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(InputError, match=r"items.parquet: the column 'bytes' holds bytes, no text"):
        read(tmp_path)


def test_ids_that_pandas_made_floats_are_whole_again(tmp_path):
    pl.DataFrame({"user_id": [1.0], "item_id": [7.0], "timestamp": [1]}).write_parquet(
        tmp_path / "interactions.parquet"
    )
    pl.DataFrame({"item_id": [7], "title": ["Seven"]}).write_parquet(tmp_path / "items.parquet")
    assert triples(read(tmp_path)) == [("1", "7", 1)]


def test_a_float_column_with_nan_is_refused_not_sorted_last(tmp_path):
    frame = pl.DataFrame({"user_id": ["u", "u"], "item_id": ["a", "b"], "timestamp": [1.0, float("nan")]})
    frame.write_parquet(tmp_path / "interactions.parquet")
    pl.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"]}).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(InputError, match=r"interactions.parquet, row 2: timestamp nan is no point in time"):
        read(tmp_path)


def test_ids_are_compared_without_blanks(folder):
    with pytest.raises(InputError, match=r"items.csv, line 2: item id 'a' occurs twice"):
        read(folder(interactions__csv=csv(), items__csv="item_id,title\na,A\n  a,B\nb,B\nc,C\n"))


def test_a_message_never_grows_with_the_file(folder):
    where = folder(interactions__csv=csv(",".join(f"column{i}" for i in range(5000)), rows=[]), items__csv=ITEMS)
    with pytest.raises(InputError) as found:
        read(where)
    assert len(str(found.value)) < 600
    assert len(str(InputError("x" * 10**6))) <= MOST + 3


def test_further_tables_keep_their_promises(folder):
    where = folder(
        interactions__csv=csv(),
        items__csv=ITEMS,
        users__csv="id,age\nu,20\n",
        texts__csv=csv("user_id,item_id,timestamp,text", rows=[("u", "a", 1, "fine")]),
    )
    raw = read(where)
    assert raw.users.rows() == [("u", "20")]
    assert raw.texts.rows() == [("u", "a", 1, "fine")]
    folder(texts__csv=csv("user_id,item_id,timestamp,text", rows=[("u", "a", "2024-01-01", "fine")]))
    with pytest.raises(InputError, match=r"texts.csv has times as Datetime.*, interactions.csv as Int64: write both"):
        read(where)


# --- titles ---


def test_titles_that_say_nothing_count_as_missing_and_are_said(folder, capsys):
    titles = [
        "Apple",
        '<span class=""a-size-medium a-color-secondary""',
        "<b></b>",
        "var aPageStart = (new Date()).getTime();",
        "unknown",
        "N/A",
        "Unknown",
        "n/a",
        "i8",
        "<b>Bold</b> pan",
    ]
    rows = "".join(f'i{i},"{title}",Ox\n' for i, title in enumerate(titles))
    raw = read(folder(interactions__csv=csv(rows=[("u", "i0", 1)]), items__csv="item_id,title,brand\n" + rows))
    assert raw.items["title"].to_list() == ["Apple", *[None] * 8, "<b>Bold</b> pan"]
    said = capsys.readouterr().err
    assert (
        "8 of 10 items have no usable title (of these 2 markup only, 1 scripts, 4 words like 'unknown', 1 their ids)"
        in said
    )


def test_a_film_called_unknown_keeps_its_title(folder):
    raw = read(folder(interactions__csv=csv(), items__csv=ITEMS.replace("Apple", "Unknown")))
    assert raw.items["title"][0] == "Unknown"


@pytest.mark.parametrize(
    "content", ["user_id,item_id,timestamp\n", ",user_id,item_id,timestamp\n", "user_id,item_id\n"]
)
def test_a_table_without_rows_is_named(folder, content):
    with pytest.raises(InputError, match=r"holds no interactions: its table has no rows"):
        read(folder(interactions__csv=content, items__csv=ITEMS))
