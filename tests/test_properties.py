"""What must hold for any data: filters, splits, groups, negatives, metrics, attention, batches, raw files."""

import json
from functools import partial

import numpy as np
import polars as pl
import pytest
import torch
from conftest import ragged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llmesr.errors import InputError
from llmesr.metrics import hit_rate, ndcg
from llmesr.models.attention import attend
from llmesr.models.backbones import BACKBONES
from llmesr.models.scoring import full_ranks, sampled_ranks
from llmesr.prepare.filters import k_core, one_pass
from llmesr.prepare.groups import edge_label, edge_names, tail_label, tail_threshold
from llmesr.prepare.sources import SOURCES
from llmesr.prepare.split import cut, draw_negatives, leave_one_out, temporal
from llmesr.settings import WrittenRecipe
from llmesr.train.negatives import NegativeSampler
from llmesr.train.objectives import make_batch

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

V = 30
histories = st.lists(st.lists(st.integers(1, V), min_size=1, max_size=25), min_size=1, max_size=12)


def frame(rows):
    """Interactions of users, one after the other; the time is the place in the whole."""
    flat = [(f"u{user}", f"i{item}", user, item) for user, items in enumerate(rows) for item in items]
    return pl.DataFrame(flat, schema=["user_id", "item_id", "user", "item"], orient="row").with_row_index("timestamp")


# --- filters, splits, groups ---


@quick
@given(histories, st.integers(1, 5), st.integers(1, 5))
def test_a_k_core_holds_what_it_promises_and_nobody_who_could_stay_is_gone(rows, min_user, min_item):
    whole = frame(rows)
    kept = k_core(whole, min_user, min_item)
    for column, least in (("user_id", min_user), ("item_id", min_item)):
        assert (kept.group_by(column).len()["len"] >= least).all()
    # any set of rows that keeps the promise lies within the core: peel in another order and compare
    left = whole
    while True:
        rare = left.group_by("item_id").len().filter(pl.col("len") < min_item)["item_id"]
        few = left.filter(~pl.col("item_id").is_in(rare.implode()))
        short = few.group_by("user_id").len().filter(pl.col("len") < min_user)["user_id"]
        peeled = few.filter(~pl.col("user_id").is_in(short.implode()))
        if peeled.height == left.height:
            break
        left = peeled
    assert kept.equals(left)
    assert set(kept["timestamp"]) <= set(one_pass(whole, min_user, min_item)["timestamp"])


@quick
@given(histories)
def test_leave_one_out_gives_every_interaction_one_place_in_the_order_of_time(rows):
    split = leave_one_out(frame(rows), "train_only")
    for user, items in enumerate(rows):
        parts = [part.filter(user=user)["item"].to_list() for part in (split.train, split.validation, split.test)]
        assert [item for part in parts for item in part] == items
        assert [len(part) for part in parts[1:]] == ([1, 1] if len(items) >= 3 else [0, 0])
        assert split.known.filter(user=user)["item"].to_list() == parts[0] + parts[1]


@quick
@given(st.permutations(range(20)), st.floats(0.1, 0.5), st.floats(0.55, 0.95))
def test_a_temporal_split_learns_nothing_from_after_its_cuts(times, begin, end):
    whole = frame([[1, 2, 3, 4, 5]] * 4).with_columns(pl.Series("timestamp", times)).sort("user", "timestamp")
    cuts = cut(whole, (begin, end))
    split = temporal(whole, cuts)
    when = {(user, item): time for time, _, _, user, item in whole.rows()}
    assert all(when[pair] < cuts[0] for pair in split.train.rows())
    assert all(cuts[0] <= when[pair] < cuts[1] for pair in split.validation.rows())
    assert all(when[pair] >= cuts[1] for pair in split.test.rows())
    assert all(when[pair] < cuts[1] for pair in split.known.rows())


@quick
@given(st.lists(st.integers(0, 300), min_size=1, max_size=60), st.floats(0.05, 0.95))
def test_every_count_is_in_one_group_and_the_tail_is_the_quantile_s_share(counts, quantile):
    edges = (5, 10, 20, 100)
    threshold = tail_threshold(np.array(counts), quantile, None)
    found = pl.DataFrame({"n": counts}).select(
        "n", tail_label(pl.col("n"), threshold, "item").alias("tail"), edge_label(pl.col("n"), edges, "n").alias("edge")
    )
    assert (found["tail"] == "tail_item").mean() >= quantile - 1 / len(counts)  # the quantile lies between two counts
    assert found.filter(tail="tail_item")["n"].max() < threshold
    for n, _, name in found.rows():
        place = edge_names(edges, "n").index(name)
        assert (0, *edges)[place] <= n < (*edges, np.inf)[place]


# --- negatives and metrics ---


@quick
@given(histories, st.integers(1, 40), st.integers(0, 2**31))
def test_negatives_are_distinct_unseen_and_as_many_as_there_can_be(rows, negatives, seed):
    seen = [np.unique(items) for items in rows]
    drawn = draw_negatives(np.arange(len(rows)), seen, V, negatives, np.random.default_rng(seed))
    for row, touched in zip(drawn, seen, strict=True):
        real = row[row > 0]
        assert len(set(real)) == len(real) == min(negatives, V - len(touched))
        assert not set(real) & set(touched)
        assert ((real >= 1) & (real <= V)).all()


@quick
@given(histories, st.integers(1, 5))
def test_training_negatives_were_not_had(rows, negatives):
    sampler = NegativeSampler(ragged(*rows), V)
    drawn = sampler.draw(torch.arange(len(rows)), negatives)
    for row, had in zip(drawn.tolist(), rows, strict=True):
        assert len(set(had)) == V or not set(row) & set(had)


@quick
@given(st.lists(st.integers(2, 200).map(lambda n: n / 2), min_size=1), st.integers(1, 50))
def test_metrics_lie_between_0_and_1_and_never_rise_with_the_rank(ranks, k):
    ordered = np.sort(np.array(ranks))
    for metric in (hit_rate, ndcg):
        values = metric(ordered, k)
        assert ((values >= 0) & (values <= 1)).all()
        assert (np.diff(values) <= 0).all()
        assert (metric(ordered, k + 1) >= values).all()
    assert (ndcg(ordered, k) <= hit_rate(ordered, k)).all()


scores = st.lists(st.lists(st.integers(-3, 3), min_size=8, max_size=8), min_size=1, max_size=6)


@quick
@given(scores, st.data())
def test_ranks_are_what_sorting_gives_and_ties_share_the_middle(table, data):
    """The table's rows are scores: users are unit vectors, so that user i gives item v the score `table[i][v]`."""
    n = len(table)
    items = torch.zeros(9, n)
    items[1:] = torch.tensor(table, dtype=torch.float32).T
    targets = np.array([data.draw(st.integers(1, 8)) for _ in range(n)])
    ranks = full_ranks(torch.eye(n), items, targets, None)
    others = np.array([[v for v in range(1, 9) if v != target] for target in targets])
    assert (ranks == sampled_ranks(torch.eye(n), items, targets, others)).all()
    for row, target, rank in zip(table, targets, ranks, strict=True):
        places = [place for place, score in enumerate(sorted(row, reverse=True), 1) if score == row[target - 1]]
        assert rank == np.mean(places)


# --- attention and batches ---


@quick
@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.booleans(), st.integers(0, 2**31))
def test_no_sequence_sees_another_and_no_position_a_later_one(lengths, causal, seed):
    generator = torch.Generator().manual_seed(seed)
    whole = ragged(*[[1] * n for n in lengths])
    q, kv = torch.randn(sum(lengths), 8, generator=generator), torch.randn(sum(lengths), 16, generator=generator)
    place = int(torch.randint(sum(lengths), (), generator=generator))
    other = kv.clone()
    other[place] += 1.0
    changed = (attend(q, kv, 2, whole, causal) != attend(q, other, 2, whole, causal)).any(1)
    may = whole.row == whole.row[place]
    if causal:
        may &= whole.column >= whole.column[place]
    assert not (changed & ~may).any()


@quick
@given(histories, st.integers(2, 30), st.integers(0, 2**31))
@pytest.mark.parametrize("name", BACKBONES)
def test_every_training_interaction_that_is_read_is_asked_for_once(build, name, rows, max_length, seed):
    """Once an epoch: every item but a user's first (or earliest read) by position, every item at most once by cloze."""
    torch.manual_seed(seed)
    backbone = build(name, "none").backbone
    batch = make_batch(backbone, ragged(*rows), torch.arange(len(rows)), V, max_length)
    asked = [[int(i) for i in part if i] for part in batch.targets.split(batch.inputs.lengths.tolist())]
    if name == "bert4rec":
        latest = [items[-max_length:] for items in rows]
        hidden, last = asked[: len(rows)], asked[len(rows) :]
        assert last == [items[-1:] for items in latest]
        assert all(1 <= len(part) <= len(items) for part, items in zip(hidden, latest, strict=True))
    else:
        assert asked == [items[-max_length - 1 :][1:] for items in rows]


# --- raw files ---

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
WITH_TEXTS = WrittenRecipe(repeats="keep", filter="k_core", min_user=1, min_item=1, short_users="error", texts=True)
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
    interactions, items, *_ = SOURCES[source](tmp_path, WITH_TEXTS)
    assert interactions.height >= 2
    assert items.height >= 1


@settings(quick, max_examples=60)
@given(st.data())
@pytest.mark.parametrize("source", RAW)
def test_a_damaged_raw_file_is_read_or_named_but_never_a_raw_error(tmp_path_factory, source, data):
    folder = tmp_path_factory.mktemp("raw")
    hurt = data.draw(st.sampled_from(sorted(RAW[source])))
    for name, content in RAW[source].items():
        body = content.encode()
        (folder / name).write_bytes(damaged(body, data.draw(damage)) if name == hurt else body)
    load = partial(SOURCES[source], folder, WITH_TEXTS)
    try:
        interactions, items, *_ = load()
    except InputError as error:
        assert any(name in str(error) for name in RAW[source]), error  # it names a file
    else:
        assert {"user_id", "item_id", "timestamp"} <= set(interactions.columns)
        assert {"item_id", "title"} <= set(items.columns)
        assert interactions["item_id"].null_count() == interactions["user_id"].null_count() == 0
