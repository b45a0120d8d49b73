"""Raw formats: each in small files with its quirks, both frames checked by hand, and each promised error."""

import gzip
import json
from datetime import datetime
from typing import get_args

import polars as pl
import pytest
from helpers import ROOT
from llmesr import prepare
from llmesr.errors import InputError
from llmesr.prepare.sources import FORMATS, amazon_2014, amazon_2018, amazon_2023, inter_txt, lines, movielens, yelp
from llmesr.settings import DatasetSettings, load


@pytest.fixture
def folder(tmp_path):
    """Write files, `.gz` ones compressed, and return their folder."""

    def write(**files):
        for name, content in files.items():
            file = tmp_path / name.replace("__", ".")
            body = content if isinstance(content, bytes) else content.encode()
            file.write_bytes(gzip.compress(body) if file.suffix == ".gz" else body)
        return tmp_path

    return write


def jsonl(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def review(user="u", item="a", time=1, **more):
    return {"reviewerID": user, "asin": item, "overall": 5.0, "unixReviewTime": time, "reviewText": "good", **more}


RECIPE = DatasetSettings(texts=False)
WITH_TEXTS = DatasetSettings()
INTERACTION = ["user_id", "item_id", "timestamp", "rating"]


def test_every_format_has_a_loader():
    assert set(FORMATS) == set(get_args(DatasetSettings.model_fields["format"].annotation))


def test_the_papers_datasets_are_filtered_as_the_paper_says():
    datasets = load(ROOT / "params.yaml").datasets
    for name, format_, kind, user, item, tails in (
        ("yelp", "yelp", "one_pass", 3, 3, (12, 13)),
        ("fashion", "amazon-2018", "k_core", 3, 2, (3, 4)),
        ("beauty", "amazon-2014", "one_pass", 5, 5, (9, 4)),
    ):
        recipe = datasets[name]
        assert (recipe.format, recipe.filter, recipe.min_user, recipe.min_item) == (format_, kind, user, item)
        assert (recipe.tail_user_below, recipe.tail_item_below, recipe.tail_item_counts) == (*tails, "all")
        assert recipe.short_users == ("drop" if kind == "one_pass" else "error")
        assert recipe.max_length == 200


META_2014 = """\
{'asin': 'b', 'title': "Bob's \\"best\\" caf\\xe9 &amp; soap", 'price': 3.17, 'brand': '\\ud83dOx',
 'description': 'Clean.', 'categories': [['Beauty', 'Bath'], ['Beauty', 'Soap']], 'related': {'also_bought': ['x']}}
{'asin': 'never', 'title': 'Not reviewed'}
{'asin': 'b', 'title': 'A second line of b'}
{'asin': 'a', 'description': None}
""".replace(",\n ", ", ")


def test_amazon_2014(folder):
    reviews = jsonl(review(), review("v", "b", 2, overall=1), review("v", "lost", 3), review())
    loaded = amazon_2014.load(folder(reviews_Beauty__json__gz=reviews, meta_Beauty__json__gz=META_2014), RECIPE)
    assert loaded[0].columns == INTERACTION
    # repeats are the recipe's business
    assert loaded[0].rows() == [("u", "a", 1, 5.0), ("v", "b", 2, 1.0), ("v", "lost", 3, 5.0), ("u", "a", 1, 5.0)]
    assert loaded[1].columns == ["item_id", "title", "brand", "price", "categories", "description"]
    assert loaded[1].rows() == [
        ("b", 'Bob\'s "best" café &amp; soap', "?Ox", "3.17", "Beauty, Bath, Soap", "Clean."),
        ("a", "unknown", None, None, None, None),
        ("lost", "unknown", None, None, None, None),
    ]


def test_amazon_2018(folder):
    meta = jsonl(
        {"asin": "a", "title": "Sock", "description": ["Warm.", "", "<b>Soft</b>"], "price": "$12.99", "brand": "Ox"},
        {"asin": "a", "title": "Again"},
        {"asin": "b", "title": "var aPageStart = (new Date()).getTime();", "price": ".a-box-inner{color:#fff}"},
        {"asin": "c", "title": "Hat", "price": "$1,000.00 - $2,000.50", "category": ["Men", "Hats"], "feature": []},
    )
    reviews = jsonl(review(), review("v", "b", 2, reviewText=None), review("v", "c", 3, overall=None)) + "\n"
    loaded = amazon_2018.load(
        folder(AMAZON_FASHION__json=reviews, meta_AMAZON_FASHION__json__gz=meta),
        WITH_TEXTS,
    )
    assert loaded[0].columns == [*INTERACTION, "text"]
    assert loaded[0].rows() == [("u", "a", 1, 5.0, "good"), ("v", "b", 2, 5.0, None), ("v", "c", 3, None, "good")]
    assert loaded[1].columns == ["item_id", "title", "brand", "price", "categories", "features", "description"]
    assert loaded[1].rows() == [
        ("a", "Sock", "Ox", "$12.99", None, None, "Warm., <b>Soft</b>"),
        ("b", "unknown", None, None, None, None, None),
        ("c", "Hat", None, "$1,000.00 - $2,000.50", "Men, Hats", None, None),
    ]


def test_amazon_2023(folder):
    rows = [
        {"user_id": "u", "parent_asin": "p", "asin": "p-red", "rating": 4.0, "timestamp": 1588687728923, "text": "x"},
        {"user_id": "u", "parent_asin": "p", "asin": "p-blue", "rating": 2.0, "timestamp": 1588687728924, "text": "y"},
    ]
    meta = {"parent_asin": "p", "title": "Pan", "features": ["Iron"], "description": [], "price": 9.5, "store": "Ox"}
    meta |= {"categories": ["Home", "Pans"], "details": {"Colour": "Black", "Size": None, "Rank": {"Pans": 7}}}
    loaded = amazon_2023.load(folder(Home__jsonl__gz=jsonl(*rows), meta_Home__jsonl=jsonl(meta)), RECIPE)
    assert loaded[0].rows() == [("u", "p", 1588687728923, 4.0), ("u", "p", 1588687728924, 2.0)]
    (item,) = loaded[1].rows(named=True)
    assert item == {
        "item_id": "p",
        "title": "Pan",
        "store": "Ox",
        "price": "9.5",
        "categories": "Home, Pans",
        "features": "Iron",
        "description": None,
        "details": "Colour: Black, Rank: Pans: 7",
    }


def visit(date, item="a"):
    return {"user_id": "u", "business_id": item, "stars": 3, "date": date, "text": "nice", "votes": {"funny": 0}}


@pytest.mark.parametrize(
    ("release", "dates", "categories"),
    [
        ("yelp_academic_dataset", ["2018-07-07 22:09:11", "2018-07-07 22:09:10"], "Bars, Food"),
        ("yelp_training_set", ["2012-02-29", "2012-02-28"], ["Bars", "Food"]),
    ],
)
def test_yelp_of_both_releases(folder, release, dates, categories):
    shop = {"business_id": "a", "name": "Zoë's", "categories": categories, "city": "Ajo", "state": "AZ", "stars": 4.5}
    files = {
        f"{release}_review__json": jsonl(visit(dates[0]), visit(dates[1], "b")),
        f"{release}_business__json": jsonl(shop, {"business_id": "b", "name": "", "categories": None}),
        f"{release}_user__json": "not read",
    }
    interactions, items = yelp.load(folder(**files), RECIPE)
    assert interactions.columns == INTERACTION
    times = [datetime.fromisoformat(date) for date in dates]
    assert interactions.rows() == [("u", "a", times[0], 3.0), ("u", "b", times[1], 3.0)]
    assert interactions.sort("timestamp")["item_id"].to_list() == ["b", "a"]
    assert items.columns == ["item_id", "title", "categories", "city", "state"]  # no stars: they know the future
    assert items.rows() == [("a", "Zoë's", "Bars, Food", "Ajo", "AZ"), ("b", "unknown", *[None] * 3)]


MOVIES = [("1", "Misérables, Les", "1995", "Drama, War"), ("2", "Babylon 5", None, None), ("3", "unknown", None, None)]
FLAGS = ["|".join("1" if genre in on else "0" for genre in movielens.GENRES) for on in ({"Drama", "War"}, {"unknown"})]
LES = "Misérables, Les (1995)"
CSV = {
    "ratings__csv": "userId,movieId,rating,timestamp\n7,1,4.5,20\n7,2,3.0,10\n7,3,3.0,30\n",
    "movies__csv": f'movieId,title,genres\r\n1,"{LES}",Drama|War\r\n2,Babylon 5,(no genres listed)\r\n',
}
DAT = {"ratings__dat": "7::1::4.5::20\n7::2::3::10\n7::3::3::30\n"}
FAMILY = {
    "csv": CSV,
    "csv with a mark": {name: "\ufeff" + text for name, text in CSV.items()},
    "csv without header": {name: text.split("\n", 1)[1] for name, text in CSV.items()},
    "dat, Latin-1": DAT | {"movies__dat": f"1::{LES}::Drama|War\n2::Babylon 5::\n".encode("latin-1")},
    "dat, UTF-8": DAT | {"movies__dat": f"1::{LES}::Drama|War\n2::Babylon 5::(no genres listed)\n"},
    "ml-100k": {
        "u__data": "7\t1\t4.5\t20\n7\t2\t3\t10\n7\t3\t3\t30\n",
        "u__item": f"1|{LES}|01-Jan-1995||http://x|{FLAGS[0]}\n2|Babylon 5||||{FLAGS[1]}\n".encode("latin-1"),
    },
}


@pytest.mark.parametrize("files", FAMILY.values(), ids=FAMILY)
def test_the_movielens_family_gives_the_same_frames(folder, files):
    interactions, items, _, _ = movielens.load(folder(**files), RECIPE)
    assert interactions.columns == INTERACTION
    assert interactions.rows() == [("7", "1", 20, 4.5), ("7", "2", 10, 3.0), ("7", "3", 30, 3.0)]
    assert items.columns == ["item_id", "title", "year", "genres"]
    assert items.rows() == MOVIES  # the third is rated but not among the movies


def test_inter_txt_with_and_without_texts(folder):
    path = folder(inter__txt="1 17\n1 4\n\n2\t17\n")
    interactions, items = inter_txt.load(path, None)
    assert interactions.rows() == [("1", "17", 1), ("1", "4", 2), ("2", "17", 3)]
    assert sorted(items.rows()) == [("17", "item 17"), ("4", "item 4")]
    items = inter_txt.load(folder(items__csv="item_id,title,brand\n4,,Ox\n9,Nine,\n"), None)[1]
    assert items.rows() == [("4", "item 4", "Ox"), ("9", "Nine", None), ("17", "item 17", None)]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_size_of_a_chunk_changes_nothing(folder, monkeypatch, size):
    rows = [review(f"u{i % 3}", f"i{i % 4}", i, overall=None if i == 4 else 1.0) for i in range(7)]
    meta = jsonl(*({"asin": f"i{i}", "title": f"T{i}", "price": None if i < 2 else "$1"} for i in range(4)))
    path = folder(X__json__gz=jsonl(*rows), meta_X__json=meta)
    whole = amazon_2018.load(path, RECIPE)
    monkeypatch.setattr(lines, "CHUNK", size)
    for frame, other in zip(whole, amazon_2018.load(path, RECIPE), strict=True):
        assert frame.equals(other)
        assert frame.schema == other.schema


def test_lines_are_read_when_they_are_wanted(folder):
    path = folder(X__json=jsonl(review(), review()) + "not JSON\n")
    rows = lines.parsed(path / "X.json", lines.json_object, lambda fields: fields["asin"])
    assert [next(rows), next(rows)] == ["a", "a"]
    with pytest.raises(InputError, match=r"X.json, line 3: malformed JSON, .* at character 1: correct the line"):
        next(rows)


def test_rows_become_frames_chunk_by_chunk(monkeypatch):
    sizes, real = [], pl.DataFrame.__init__
    taken = []

    def record(self, *given, **more):
        sizes.append(len(taken))
        real(self, *given, **more)

    monkeypatch.setattr(lines, "CHUNK", 2)
    monkeypatch.setattr(pl.DataFrame, "__init__", record)
    frame = lines.collect(((taken.append(i) or i,) for i in range(5)), {"n": pl.Int64})
    assert frame["n"].to_list() == [0, 1, 2, 3, 4]
    assert sizes == [0, 2, 4, 5]  # each chunk is a frame before the next one is read


GOOD = jsonl(review())
META = jsonl({"asin": "a", "title": "A"})
OLD, NEW = ({f"{release}_review__json": ""} for release in ("yelp_training_set", "yelp_academic_dataset"))


def fashion(reviews=GOOD, meta=META):
    return {"X__json": reviews, "meta_X__json": meta}


@pytest.mark.parametrize(
    ("load", "files", "message"),
    [
        (amazon_2018, {"meta_X__json": META}, r"has no file of reviews 'X' \(.json.gz, .json,"),
        (amazon_2014, {"reviews_X__json": GOOD}, r"has no file of metadata 'meta_X'.*put the file there"),
        (amazon_2018, {"X__json": "", "Y__json": ""}, r"more than one file of reviews 'X' \(X.json, Y.json\): leave"),
        (amazon_2018, fashion(GOOD + '{"asin": \n'), r"X.json, line 2: malformed JSON"),
        (amazon_2018, fashion("[1]\n"), r"X.json, line 1: not a JSON object"),
        (amazon_2018, fashion('{"asin": "a"}\n'), r"X.json, line 1 lacks the field 'reviewerID': add it"),
        (amazon_2018, fashion(jsonl(review(user=" "))), r"line 1: the field 'reviewerID' is ' ', not an id"),
        (amazon_2018, fashion(jsonl(review(time="soon"))), r"line 1: the field 'unixReviewTime' is 'soon', not a"),
        (amazon_2018, fashion(jsonl(review(time=1e30))), r"line 1: the field 'unixReviewTime' is 1e\+30, not a"),
        (amazon_2018, fashion(jsonl(review(overall="high"))), r"line 1: the field 'overall' is 'high', not a number"),
        (amazon_2018, fashion(meta=META + "{}\n"), r"meta_X.json, line 2 lacks the field 'asin'"),
        (amazon_2014, fashion(meta="{'asin': 'a'}\n{'asin': f()}\n"), r"meta_X.json, line 2: malformed Python literal"),
        (amazon_2014, fashion(meta="{'asin'}\n"), r"meta_X.json, line 1: not a Python dict"),
        (yelp, {"X__json": GOOD}, r"has no 'yelp_academic_dataset_review.json' or 'yelp_training_set_review.json'"),
        (yelp, OLD | NEW, r"has the reviews of yelp_academic_dataset and yelp_training_set: leave only one"),
        (yelp, OLD | {"yelp_academic_dataset_business__json": ""}, r"has no 'yelp_training_set_business'"),
        (movielens, {}, r"has no ratings: put ratings.csv with movies.csv, or ratings.dat with"),
        (movielens, {"ratings__csv": ""}, r"movies.csv is missing: put it beside ratings.csv"),
        (movielens, CSV | DAT, r"has ratings.csv and ratings.dat: leave the files of one dataset"),
        (movielens, CSV | {"ratings__csv": "user,movie\n"}, r"ratings.csv, line 1 is not the header userId,movieId,"),
        (movielens, CSV | {"ratings__csv": "1,2,3\n"}, r"ratings.csv, line 1: 3 fields instead of 4"),
        (movielens, CSV | {"movies__csv": '1,"A,Drama\n'}, r"movies.csv, line 1: malformed CSV"),
        (inter_txt, {}, r"inter.txt is missing: put it there, one 'user item' pair a line"),
        (inter_txt, {"inter__txt": "1 2\n1 x\n"}, r"inter.txt, line 2: '1 x' is not two whole numbers"),
        (inter_txt, {"inter__txt": "1 2 3\n"}, r"inter.txt, line 1: '1 2 3' is not two whole numbers"),
        (inter_txt, {"inter__txt": "1 2\n", "items__csv": "item_id\n2\n"}, r"items.csv lacks the column 'title'"),
    ],
)
def test_bad_files_name_file_and_line(folder, load, files, message):
    with pytest.raises(InputError, match=message):
        load.load(folder(**files), RECIPE)


@pytest.mark.parametrize("date", ["2012-02-30", "2012-W01-1", "01/02/2012", "2012-01-01T10:00:00", None])
def test_bad_dates_name_file_and_line(folder, date):
    files = {"yelp_training_set_review__json": jsonl(visit("2012-01-01"), visit(date))}
    with pytest.raises(InputError, match=rf"review.json, line 2: the field 'date' is {date!r}, not a date like"):
        yelp.load(folder(**files, yelp_training_set_business__json=""), RECIPE)


def test_damaged_and_false_gzip_files(folder):
    path = folder(X__json__gz=jsonl(*(review(f"u{i}", f"i{i}", i) for i in range(500))), meta_X__json=META)
    file = path / "X.json.gz"
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"X.json.gz is damaged after line \d+ \(.*\): get it again"):
        amazon_2018.load(path, RECIPE)
    file.write_bytes(GOOD.encode())
    with pytest.raises(InputError, match=r"X.json.gz is damaged after line 0 \(Not a gzipped file"):
        amazon_2018.load(path, RECIPE)


def test_a_raw_format_goes_through_the_whole_stage(root, tiny, folder):
    rows = [review(f"u{u}", f"i{(u + t) % 6}", t) for u in range(6) for t in range(4)]
    path = folder(X__json__gz=jsonl(*rows, *rows), meta_X__json=jsonl({"asin": "i0", "title": "Zero"}))
    recipe = {"format": "amazon-2018", "folder": str(path), "repeats": "first", "min_item": 2, "texts": False}
    settings = tiny.changed({"dataset": "shop", "datasets": {"shop": recipe}})
    prepared = prepare.run(settings)
    assert prepared.card["interactions"] == 24
    assert sorted(prepared.titles) == ["", "Zero", *["unknown"] * 5]
    assert prepared.texts.is_empty()
    with_texts = prepare.run(settings.changed({"data.texts": True}))
    assert with_texts.card["texts"]["read"] == 48  # before repeats are dropped
    train = sorted((user, item) for user in range(6) for item in with_texts.train[user].tolist())
    assert sorted(set(with_texts.texts.select("user", "item").rows())) == train
    assert set(with_texts.texts["text"]) == {"good"}


def test_tags_are_read_where_they_are_asked_for_and_there(folder):
    files = {"ratings__csv": "1,10,4.0,5\n", "movies__csv": "10,Heat (1995),Crime\n"}
    assert movielens.load(folder(**files), WITH_TEXTS)[3] is None
    path = folder(**files, tags__csv="userId,movieId,tag,timestamp\n1,10,slow burn,7\n2,10, ,8\n")
    assert movielens.load(path, WITH_TEXTS)[3].rows() == [("1", "10", "slow burn", 7)]
    assert movielens.load(path, RECIPE)[3] is None
    folder(tags__csv="1,10,slow burn\n")
    with pytest.raises(InputError, match=r"tags.csv, line 1: 3 fields instead of 4"):
        movielens.load(path, WITH_TEXTS)
