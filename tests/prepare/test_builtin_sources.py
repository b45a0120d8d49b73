"""Stage 01's loaders: tables, Complete Journey, MovieLens; what is wrong is named with its file and row."""

import polars as pl
import pytest
from llmesr.errors import InputError
from llmesr.prepare.sources import complete_journey, movielens_100k, table
from llmesr.settings import DatasetSettings

# --- tables ---

GOOD = "user_id,item_id,timestamp\nu,a,1\nu,b,2\nu,c,3\n"


@pytest.mark.parametrize(
    ("interactions", "items", "message"),
    [
        ("who,item_id,timestamp\nu,a,1\n", None, r"interactions.csv lacks the column 'user_id' \(it has who, item_id"),
        ("user_id,item_id,timestamp\nu,a,1\nu,x,2\n", None, r"interactions.csv, line 3: item 'x' is not in items.csv"),
        ("user_id,item_id,timestamp\nu,a,1\nu,b,soon\n", None, r"line 3: timestamp 'soon' is neither a number nor"),
        ("user_id,item_id,timestamp\nu,a,2024-01-01\nu,b,01/02\n", None, r"line 3: timestamp '01/02'"),
        ("user_id,item_id,timestamp\n,a,1\n", None, r"line 2: 'user_id' is empty"),
        ("user_id,item_id,timestamp\nu,a,\n", None, r"line 2: 'timestamp' is empty"),
        (GOOD, "item_id,title\na,A\nb,B\na,C\nc,D\n", r"items.csv, line 2: item id 'a' occurs twice"),
        (GOOD, "item_id,title,brand\na,A,x\nb,,\nc,C,z\n", r"items.csv, line 3: item 'b' has no text"),
        ("user_id,item_id,timestamp\nu,a,1\nu,b,nan\n", None, r"line 3: timestamp 'nan' is neither a number nor"),
        (GOOD, "item_id,title,group\na,A,x\nb,B,y\nc,C,z\n", r"has a column 'group', a name that is used here"),
        (GOOD, "item_id,called\na,A\n", r"items.csv lacks the column 'title'"),
        (GOOD + "u,a,4,5\n", None, r"^\S+interactions.csv, line 5: more fields than the header: quote a comma in it$"),
        (GOOD, 'item_id,title\na,A\nb,"B\nB, B"\nc,C, c\n', r"^\S+items.csv, line 5: more fields than the header"),
        (
            "user_id,item_id,timestamp\nu,a,01/02/2024\nu,b,02/02/2024\n",
            None,
            r"line 2: timestamp '01/02/2024' may",
        ),
        (
            "user_id,item_id,timestamp\nu,a,2024-13-01\nu,b,2024-01-40\n",
            None,
            r"line 2: timestamp '2024-13-01' is no",
        ),
    ],
)
def test_bad_tables_name_file_and_row(table, interactions, items, message):
    folder = table(interactions, items) if items else table(interactions)
    with pytest.raises(InputError, match=message):
        table_load(folder)


@pytest.mark.parametrize(
    ("users", "message"),
    [
        ("name\na\n", r"users.csv lacks the column 'user_id' \(it has name\)"),
        ("user_id,tail\na,x\n", r"users.csv has a column 'tail', a name that is used here"),
        ("user_id,club\na,x\na,y\n", r"users.csv, line 2: user id 'a' occurs twice"),
    ],
)
def test_bad_tables_of_users_are_named(table, users, message):
    folder = table("user_id,item_id,timestamp\na,a,1\n")
    (folder / "users.csv").write_text("user_id,club\na,yes\n")
    assert table_load(folder)[2].rows() == [("a", "yes")]
    (folder / "users.csv").write_text(users)
    with pytest.raises(InputError, match=message):
        table_load(folder)


def table_load(folder):
    return table.load(folder, DatasetSettings())


def test_missing_table_is_named(tmp_path):
    with pytest.raises(InputError, match=r"interactions.csv or .parquet is missing"):
        table_load(tmp_path)


def test_item_without_title_but_with_attributes_is_fine(table):
    folder = table(GOOD, "item_id,title,brand\na,A,x\nb,,y\nc,C,\n")
    assert table_load(folder)[1]["title"].to_list() == ["A", None, "C"]


def test_formats_of_a_table_are_equivalent(table):
    folder = table(GOOD)
    plain = table_load(folder)
    pl.read_csv(folder / "interactions.csv").write_parquet(folder / "interactions.parquet")
    pl.read_csv(folder / "items.csv").write_ndjson(folder / "items.jsonl")
    for file in ("interactions.csv", "items.csv"):
        (folder / file).unlink()
    other = table_load(folder)
    assert plain[0].select("user_id", "item_id").equals(other[0].select("user_id", "item_id"))
    assert plain[1].equals(other[1])


def test_lists_of_attributes_are_joined(table):
    folder = table(GOOD)
    (folder / "items.csv").unlink()
    rows = ('{"item_id": "a", "title": "A", "tags": ["x", "y"]}', '{"item_id": "b", "title": "B", "tags": []}')
    (folder / "items.jsonl").write_text("\n".join((*rows, '{"item_id": "c", "title": "C", "tags": null}')))
    assert table_load(folder)[1]["tags"].to_list() == ["x, y", None, None]


def test_iso_dates_sort_as_time(table):
    folder = table("user_id,item_id,timestamp\nu,a,2024-12-01\nu,b,2024-02-01T10:00:00\nu,c,2023-01-01\n")
    assert table_load(folder)[0].sort("timestamp")["item_id"].to_list() == ["c", "b", "a"]


def test_dates_may_have_times_and_zones(table):
    for dates in (("2024-01-02T10:00:00+02:00", "2024-01-02T10:00:00+01:00"), ("2024-01-02", "2024-01-02 08:00")):
        folder = table(
            "user_id,item_id,timestamp\n" + "".join(f"u,{i},{date}\n" for i, date in zip("ab", dates, strict=True))
        )
        first, second = table_load(folder)[0]["timestamp"]
        assert first < second


# --- built-in datasets ---


@pytest.fixture
def journey(tmp_path):
    """A shop of one product and one basket, in the files of Complete Journey."""
    product = dict.fromkeys(("product_type", "product_category", "brand", "package_size", "manufacturer_id"), "x")
    pl.DataFrame({"product_id": [1], "department": ["PASTRY"], **product}).write_parquet(tmp_path / "products.parquet")
    basket = {"household_id": [1], "product_id": [1], "transaction_timestamp": [1]}
    pl.DataFrame(basket).write_parquet(tmp_path / "transactions.parquet")
    household = {"household_id": [1, 2], "age": ["65+", "19-24"], "kids_count": ["0", "3+"]}
    pl.DataFrame(household).write_parquet(tmp_path / "demographics.parquet")
    return tmp_path


RECIPE = DatasetSettings(format="complete-journey", departments=["PASTRY"])


def test_unknown_department(journey):
    interactions, _, users = complete_journey.load(journey, RECIPE)
    assert interactions.rows() == [("1", "1", 1)]
    assert users.rows() == [("1", "65+", "no"), ("2", "19-24", "yes")]
    with pytest.raises(InputError, match=r"names 'NUTRITION', which is not among PASTRY"):
        complete_journey.load(journey, RECIPE.model_copy(update={"departments": ("PASTRY", "NUTRITION")}))


@pytest.mark.parametrize(
    ("product", "expected"),
    [
        (("COOKIES: REGULAR", "12 OZ", "National", 69), "Cookies, regular, 12 oz, national brand, maker 69"),
        (("SEAFOOD-FRZ-BRD SHRIMP", None, "Private", 7), "Seafood, frozen, breaded shrimp, private brand, maker 7"),
        (("SW GDS: SW ROLLS/DAN", None, None, None), "Sweet goods, sweet rolls/danish"),
        (("FLAVORED RUM (42 UNDER PROO", "750  ML", "National", 3), "Flavored rum, 750 ml, national brand, maker 3"),
        (("FITNESS&DIET - BARS", None, "National", 1), "Fitness and diet, bars, national brand, maker 1"),
    ],
)
def test_titles_of_complete_journey_are_readable(product, expected):
    assert complete_journey.title(*product) == expected


@pytest.mark.parametrize("name", ["transactions.parquet", "products.parquet", "demographics.parquet"])
def test_missing_and_damaged_files_of_complete_journey(journey, name):
    file = journey / name
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"PAR1" + b"\xff" * 200 + b"PAR1"):
        file.write_bytes(content)
        with pytest.raises(InputError, match=rf"^\S+{name} is damaged \([^\n]+\): delete it and run `make data`$"):
            complete_journey.load(journey, RECIPE)
    pl.DataFrame({"household_id": [1]}).write_parquet(file)
    with pytest.raises(InputError, match=rf"{name} lacks the column '\w+': delete it and run `make data`"):
        complete_journey.load(journey, RECIPE)
    file.unlink()
    with pytest.raises(InputError, match=rf"{name} is missing: run `make data`"):
        complete_journey.load(journey, RECIPE)


PEOPLE = "user_id:token\tage:token\tgender:token\n1\t24\tM\n2\t25\tF\n3\t45\tF\n"
RATINGS = "user_id:token\titem_id:token\ttimestamp:float\n1\t2\t3\n"
MOVIES = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n2\tAlien\t1979\tHorror\n"


@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        (b"user_id:token\titem_id:token\n1\t2\n", r"ml-100k.inter lacks the column 'timestamp'"),
        (RATINGS.encode() + b"4\t2\tsoon\n", r"ml-100k.inter, line 3: timestamp 'soon' is no number: delete the file"),
        (RATINGS.encode() + b"4\t2\tnan\n", r"ml-100k.inter, line 3: timestamp 'nan' is no number: delete the file"),
        (RATINGS.encode() + b"4\n", r"ml-100k.inter, line 3: timestamp 'None' is no number: delete the file"),
        (
            RATINGS.encode() + b"4\t\xff\xfe\t3\n",
            r"^\S+ml-100k.inter is damaged \([^\n]+\): delete it and run `make data`$",
        ),
        (b"", r"^\S+ml-100k.inter is damaged \([^\n]+\): delete it and run `make data`$"),
    ],
)
def test_bad_movielens_files_are_named(tmp_path, ratings, message):
    (tmp_path / "ml-100k.item").write_text(MOVIES)
    (tmp_path / "ml-100k.inter").write_text(RATINGS)
    (tmp_path / "ml-100k.user").write_text(PEOPLE)
    interactions, _, users = movielens_100k.load(tmp_path, None)
    assert interactions.rows() == [("1", "2", 3.0)]
    assert users.rows() == [("1", "M", "under 25"), ("2", "F", "25-44"), ("3", "F", "over 44")]
    (tmp_path / "ml-100k.inter").write_bytes(ratings)
    with pytest.raises(InputError, match=message):
        movielens_100k.load(tmp_path, None)
