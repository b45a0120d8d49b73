"""Stage 01: filters, splits, groups, negatives; the loaders are in test_sources.py."""

import numpy as np
import polars as pl
import pytest
from conftest import changed
from llmesr import prepare
from llmesr.errors import InputError
from llmesr.paths import artifact
from llmesr.prepare import dataset
from llmesr.prepare.card import describe, gini
from llmesr.prepare.filters import first_only, k_core, one_pass
from llmesr.prepare.groups import edge_label, edge_names, tail_label, tail_threshold
from llmesr.prepare.split import cut, draw_negatives, leave_one_out, temporal


def pairs(*rows):
    return pl.DataFrame([tuple(row) for row in rows], schema=["user_id", "item_id"], orient="row")


def test_k_core_goes_on_until_nothing_falls():
    # dropping item z leaves user b with one interaction, which leaves x with one, which leaves a with one
    frame = pairs("ax", "ay", "bx", "bz", "cy", "cw", "dw", "dy")
    kept = k_core(frame, 2, 2)
    assert sorted(map("".join, kept.iter_rows())) == ["cw", "cy", "dw", "dy"]
    assert sorted(map("".join, one_pass(frame, 2, 2).iter_rows())) == ["ax", "ay", "bx", "cw", "cy", "dw", "dy"]


@pytest.mark.parametrize("seed", range(5))
def test_k_core_keeps_its_promise_and_all_that_can_stay(seed):
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame({"user_id": rng.integers(0, 30, 150), "item_id": rng.integers(0, 20, 150)}).unique()
    kept = k_core(frame, 3, 4)
    counts = [kept.group_by(column).len()["len"] for column in ("user_id", "item_id")]
    assert all((count >= least).all() for count, least in zip(counts, (3, 4), strict=True))
    assert k_core(kept, 3, 4).equals(kept)
    assert kept.height <= one_pass(frame, 3, 4).height


def test_first_only_keeps_the_first_of_each_pair():
    assert first_only(pairs("ax", "ay", "ax", "bx")).rows() == [("a", "x"), ("a", "y"), ("b", "x")]


def numbered(*sequences):
    rows = [(user, item, f"u{user}") for user, items in enumerate(sequences) for item in items]
    return pl.DataFrame(rows, schema=["user", "item", "user_id"], orient="row")


def test_leave_one_out_by_hand():
    split = leave_one_out(numbered([5, 6, 7, 8], [1, 2, 3]), "error")
    assert split.train.rows() == [(0, 5), (0, 6), (1, 1)]
    assert split.validation.rows() == [(0, 7), (1, 2)]
    assert split.test.rows() == [(0, 8), (1, 3)]


def test_short_users_are_an_error_or_train_only():
    frame = numbered([5, 6], [1, 2, 3])
    with pytest.raises(InputError, match=r"user 'u0' has 2 interactions.*min_user: 3"):
        leave_one_out(frame, "error")
    split = leave_one_out(frame, "train_only")
    assert split.train.rows() == [(0, 5), (0, 6), (1, 1)]
    assert split.test.rows() == [(1, 3)]


def test_negatives_are_distinct_and_never_touched():
    rng = np.random.default_rng(0)
    seen = [np.unique(rng.integers(1, 61, size)) for size in (0, 1, 10, 40, 60)]
    drawn = draw_negatives(np.arange(5), seen, 60, 20, rng)
    for row, touched in zip(drawn, seen, strict=True):
        real = row[row > 0]
        assert len(set(real)) == len(real) == min(20, 60 - len(touched))
        assert not set(real) & set(touched)
        assert real.size == 0 or (real.min() >= 1 and real.max() <= 60)


def test_negatives_are_uniform_over_the_unseen():
    seen = [np.array([1, 2, 5, 9])]
    drawn = draw_negatives(np.zeros(6000, int), seen, 10, 1, np.random.default_rng(1)).ravel()
    items, counts = np.unique(drawn, return_counts=True)
    assert items.tolist() == [3, 4, 6, 7, 8, 10]
    assert abs(counts - 1000).max() < 130  # 4.5 standard deviations


def test_tail_threshold_by_hand():
    counts = np.array([1, 1, 2, 2, 3, 3, 4, 5, 9, 30])
    assert tail_threshold(counts, 0.8, None) == 6  # the quantile is 5.8: nine of ten… of which eight are below 6
    assert (counts < 6).mean() == 0.8
    assert tail_threshold(counts, 0.8, below=4) == 4
    labels = pl.DataFrame({"n": counts}).select(tail_label(pl.col("n"), 6, "item")).to_series()
    assert labels.to_list() == ["tail_item"] * 8 + ["head_item"] * 2


def test_edges_cover_everything_once():
    names = edge_names((5, 10, 15, 20), "length")
    assert names == ["length_0-4", "length_5-9", "length_10-14", "length_15-19", "length_20+"]
    counts = pl.DataFrame({"n": [0, 4, 5, 9, 10, 19, 20, 500]})
    labels = counts.select(edge_label(pl.col("n"), (5, 10, 15, 20), "length")).to_series().to_list()
    assert labels == [names[i] for i in (0, 0, 1, 1, 2, 3, 4, 4)]


def test_what_is_known_at_test_time_is_all_that_came_before():
    split = leave_one_out(numbered([5, 6, 7, 8], [1, 2, 3]), "error")
    assert split.known["item"].to_list() == [5, 6, 7, 1, 2]


def test_temporal_split_by_hand():
    """User 0 acts in all three times, user 1 not between, user 2 not after; what lies between is known, not learned."""
    frame = pl.DataFrame(
        {
            "user": [0, 0, 0, 0, 0, 1, 1, 2, 2],
            "item": [1, 2, 3, 4, 5, 6, 7, 8, 9],
            "timestamp": [1, 10, 12, 20, 25, 3, 21, 2, 11],
        }
    )
    split = temporal(frame, (10, 20))
    assert split.train.rows() == [(0, 1), (1, 6), (2, 8)]
    assert split.validation.rows() == [(0, 2), (2, 9)]
    assert split.test.rows() == [(0, 4), (1, 7)]
    assert split.known.rows() == [(0, 1), (0, 2), (0, 3), (1, 6), (2, 8), (2, 9)]
    assert cut(pl.DataFrame({"timestamp": [5, 1, 4, 2, 3]}), (0.4, 0.8)) == (3, 5)


def test_nothing_is_learned_after_the_first_point_in_time(root, tiny):
    chosen = changed(tiny, prepare__split="temporal")
    data = prepare.run(chosen)
    raw = pl.read_csv(tiny.folder / "interactions.csv").sort("timestamp", maintain_order=True)
    begins, ends = cut(raw, chosen.prepare.temporal_shares)
    parts = {name: pl.read_parquet(artifact("tiny", "prepare") / f"{name}.parquet") for name in ("test", "known")}
    early = raw.filter(pl.col("timestamp") < begins)
    assert len(data.train.items) == early.height
    assert (data.train.lengths > 0).all()
    assert set(data.users["user_id"]) == set(early["user_id"].cast(pl.String))
    whoever = raw.filter(pl.col("user_id").is_in(early["user_id"].implode()))
    assert parts["known"].height == whoever.filter(pl.col("timestamp") < ends).height
    assert 0 < parts["test"].height < data.n_users
    assert parts["test"]["user"].is_unique().all()


def test_a_split_that_leaves_nothing_is_named(root, tiny):
    late = changed(tiny, prepare__split="temporal", prepare__temporal_shares=[0.001, 0.002])
    with pytest.raises(InputError, match=r"no user has the interactions before and after both points in time"):
        prepare.run(late)


def test_gini():
    assert gini(np.array([3, 3, 3])) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 12])) == pytest.approx(0.75)  # (n - 1) / n when one has everything


def test_prepared_tiny_dataset_is_consistent(data, tiny):
    test = pl.read_parquet(artifact("tiny", "prepare") / "test.parquet")
    raw = pl.read_csv(tiny.folder / "interactions.csv")
    assert len(data.train.items) + len(data.validation.items) + test.height == raw.height == data.card["interactions"]
    assert (data.users["length"] == data.train.lengths + 1).all()
    assert data.items["count"].sum() == len(data.train.items)
    for user in range(data.n_users):
        mine = {*data.train[user], data.validation.items[user], test["item"][user]}
        assert not mine & set(data.validation.negatives[user])
        assert not mine & set(test["negatives"][user])


def test_same_input_gives_same_bytes(root, tiny):
    def bytes_of():
        prepare.run(tiny)
        return {file.name: file.read_bytes() for file in artifact("tiny", "prepare").iterdir()}

    first = bytes_of()
    assert len(first) == 8
    assert bytes_of() == first


def test_ties_in_time_keep_the_order_of_the_file(root, tiny, table):
    folder = table("user_id,item_id,timestamp\nu,c,1\nu,a,1\nu,b,1\nv,a,2\nv,b,1\nv,c,3\n")
    prepared = prepare.run(changed(tiny, data__root=str(folder.parent), data__name="mine"))
    assert [prepared.titles[i] for i in prepared.train.items] == ["Cherry", "Banana"]


def test_nothing_left_is_an_error(root, tiny, table):
    folder = table("user_id,item_id,timestamp\nu,a,1\nv,b,2\n")
    with pytest.raises(InputError, match=r"no interaction is left after filtering \(2 before\)"):
        prepare.run(changed(tiny, data__root=str(folder.parent), data__name="mine"))


def test_further_columns_of_interactions_do_no_harm(root, tiny, table):
    folder = table("user_id,item_id,timestamp,item,user,row\nu,a,1,9,9,9\nu,b,2,9,9,9\nu,c,3,9,9,9\n")
    prepared = prepare.run(changed(tiny, data__root=str(folder.parent), data__name="mine"))
    assert prepared.titles[prepared.train.items[0]] == "Apple"


def test_the_card_counts_what_users_have():
    users = pl.DataFrame({"length": [2, 11], "tail": ["tail_user", "head_user"]})  # the first is in training only
    items = pl.DataFrame({"count": [4, 7], "tail": ["tail_item", "head_item"], "title": ["A", "B"]})
    card = describe(users, items, np.array([2, 12]), {"user": 3, "item": 5})
    assert (card["interactions"], card["average_length"], card["longest_user"]) == (14, 7.0, 12)
    assert (card["users_under_10"], card["users_under_30"]) == (0.5, 1.0)


def test_short_users_in_training_only_add_what_they_have_to_the_card(root, tiny, table):
    folder = table("user_id,item_id,timestamp\nu,a,1\nu,b,2\nu,c,3\nv,a,4\n")
    recipe = {"prepare__recipes__table__min_user": 1, "prepare__recipes__table__short_users": "train_only"}
    card = prepare.run(changed(tiny, data__root=str(folder.parent), data__name="mine", **recipe)).card
    assert (card["users"], card["interactions"], card["longest_user"]) == (2, 4, 3)


def test_dropped_short_users_are_not_counted(root, tiny, table):
    """`one_pass` counts the user of b and of the once-bought d before d goes, and leaves her two: too few to split."""
    rows = [*"abc", *"abd"]
    lines = [f"{user},{item},{t}" for t, (user, item) in enumerate(zip("uuuvvv", rows, strict=True))]
    lines += ["w,a,9", "w,b,10", "w,c,11"]
    folder = table("user_id,item_id,timestamp\n" + "\n".join(lines) + "\n", "item_id,title\na,A\nb,B\nc,C\nd,D\n")
    key = "prepare__recipes__table__"
    recipe = {f"{key}filter": "one_pass", f"{key}min_user": 3, f"{key}min_item": 2}
    settings = changed(tiny, data__root=str(folder.parent), data__name="mine", **recipe)
    counts = {
        choice: prepare.run(changed(settings, **{f"{key}short_users": choice})).card
        for choice in ("train_only", "drop")
    }
    assert [counts["train_only"][what] for what in ("users", "items", "interactions")] == [3, 3, 8]
    assert [counts["drop"][what] for what in ("users", "items", "interactions")] == [2, 3, 6]


def test_only_short_users_are_an_error(root, tiny, table):
    folder = table("user_id,item_id,timestamp\nu,a,1\nv,b,2\n")
    recipe = {"prepare__recipes__table__min_user": 1, "prepare__recipes__table__short_users": "train_only"}
    with pytest.raises(InputError, match=r"no user has the 3 interactions that the split 'leave_one_out' needs"):
        prepare.run(changed(tiny, data__root=str(folder.parent), data__name="mine", **recipe))


def test_damaged_and_missing_artifacts(data):
    file = artifact("tiny", "prepare") / "train.parquet"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=r"train.parquet is damaged: delete it and run `dvc repro prepare`"):
        dataset.load("tiny")
    file.unlink()
    with pytest.raises(InputError, match=r"train.parquet is missing: run `dvc repro prepare` first"):
        dataset.load("tiny")


def test_damaged_and_missing_card(data):
    file = artifact("tiny", "prepare") / "card.json"
    for content in (file.read_bytes()[:50], b"\xff\xfe", b""):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"card.json is damaged: delete it and run `dvc repro prepare`"):
            dataset.load("tiny")
    file.unlink()
    with pytest.raises(InputError, match=r"card.json is missing: run `dvc repro prepare` first"):
        dataset.load("tiny")
