"""A damaged raw file is read or named, whatever the damage: never a raw error."""

import json
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmesr.errors import InputError
from llmesr.prepare.sources import FORMATS
from llmesr.settings import DatasetSettings

REVIEW = {"reviewerID": "u", "asin": "a", "overall": 5.0, "unixReviewTime": 1}
VISIT = {"user_id": "u", "business_id": "a", "stars": 4, "date": "2012-01-01", "text": "x"}
RATED = {"user_id": "u", "parent_asin": "a", "asin": "a", "rating": 4.0, "timestamp": 1588687728923}


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


RAW = {
    "amazon-2014": {"reviews_X.json": lines(REVIEW, REVIEW), "meta_X.json": "{'asin': 'a', 'title': 'A'}\n"},
    "amazon-2018": {"X.json": lines(REVIEW, REVIEW), "meta_X.json": lines({"asin": "a", "title": "A"})},
    "amazon-2023": {"X.jsonl": lines(RATED, RATED), "meta_X.jsonl": lines({"parent_asin": "a", "title": "A"})},
    "yelp": {
        "yelp_academic_dataset_review.json": lines(VISIT, VISIT),
        "yelp_academic_dataset_business.json": lines({"business_id": "a", "name": "A", "categories": "B, C"}),
    },
    "movielens": {
        "ratings.csv": "userId,movieId,rating,timestamp\n7,1,4.5,20\n7,2,3,10\n",
        "movies.csv": 'movieId,title,genres\n1,"A, The (1995)",Drama|War\n2,B (1996),Drama\n',
        "tags.csv": "userId,movieId,tag,timestamp\n7,1,slow burn,21\n",
    },
    "inter-txt": {"inter.txt": "1 2\n1 3\n2 2\n"},
    "table": {
        "interactions.csv": "user_id,item_id,timestamp\nu,a,1\nu,b,2\n",
        "items.csv": "item_id,title,brand\na,A,X\nb,B,\n",
        "texts.csv": "user_id,item_id,timestamp,text\nu,a,1,fine\n",
    },
}
SETTINGS = DatasetSettings()
damage = st.lists(
    st.tuples(
        st.floats(0, 1), st.integers(0, 6), st.one_of(st.binary(max_size=6), st.text(max_size=6).map(str.encode))
    ),
    min_size=1,
    max_size=4,
)


def damaged(content, cuts):
    """Replace some bytes by others, at places given as shares of the length."""
    for place, length, more in cuts:
        start = int(place * len(content))
        content = content[:start] + more + content[start + length :]
    return content


@pytest.mark.parametrize("source", RAW)
def test_raw_files_are_read_as_they_are(tmp_path, source):
    for name, content in RAW[source].items():
        (tmp_path / name).write_text(content)
    interactions, items, *_ = FORMATS[source](tmp_path, SETTINGS)
    assert interactions.height >= 2
    assert items.height >= 1


@settings(max_examples=40, deadline=None)
@given(st.data())
@pytest.mark.parametrize("source", RAW)
def test_a_damaged_raw_file_is_read_or_named_but_never_a_raw_error(tmp_path_factory, source, data):
    folder = tmp_path_factory.mktemp("raw")
    hurt = data.draw(st.sampled_from(sorted(RAW[source])))
    for name, content in RAW[source].items():
        body = content.encode()
        (folder / name).write_bytes(damaged(body, data.draw(damage)) if name == hurt else body)
    load = partial(FORMATS[source], folder, SETTINGS)
    try:
        interactions, items, *_ = load()
    except InputError as error:
        assert any(name in str(error) for name in RAW[source]), error  # it names a file
    else:
        assert {"user_id", "item_id", "timestamp"} <= set(interactions.columns)
        assert {"item_id", "title"} <= set(items.columns)
        assert interactions["item_id"].null_count() == interactions["user_id"].null_count() == 0
