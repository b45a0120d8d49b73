"""Stage 01 as a whole: from raw files to splits, the same bytes each time."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from helpers import V, sequences_of
from llmesr import prepare
from llmesr.errors import InputError
from llmesr.paths import artifact
from llmesr.prepare import dataset
from llmesr.prepare.dataset import attribute, sequences, targets
from llmesr.prepare.sources import load_raw
from llmesr.prepare.split import cut
from llmesr.settings import DatasetSettings


@pytest.fixture
def mine(root, tiny):
    """Settings of one's own tables in a folder, with some keys of the dataset changed."""

    def settings(folder, **keys):
        return tiny.changed({"dataset": "mine", "datasets": {"mine": {"folder": str(folder), **keys}}})

    return settings


def test_prepared_tiny_dataset_is_consistent(data, tiny):
    test = pl.read_parquet(artifact("tiny", "prepare") / "test.parquet")
    raw = pl.read_csv(tiny.folder / "interactions.csv")
    assert len(data.train.items) + len(data.validation.items) + test.height == raw.height == data.card["interactions"]
    assert data.users["length"].to_list() == (data.train.lengths + 1).tolist()
    assert data.items["count"].sum() == len(data.train.items)
    for user in range(data.n_users):
        had = {*data.train[user].tolist(), data.validation.items[user], test["item"][user]}
        assert not had & set(data.validation.negatives[user].tolist())
        assert not had & set(test["negatives"][user])


def test_every_item_is_somebodys_negative(data):
    test = pl.read_parquet(artifact("tiny", "prepare") / "test.parquet")
    for negatives in (data.validation.negatives, test["negatives"].to_numpy()):
        assert set(np.unique(negatives)) == set(range(1, V + 1))


def test_labels_and_negatives_of_users_unlike_each_other(uneven):
    """Lengths count what is known at test time, items what is trained; nothing that a user ever had is a negative."""
    settings, data = uneven
    raw = pl.read_csv(settings.folder / "interactions.csv").sort("timestamp", maintain_order=True)
    test = pl.read_parquet(artifact(data.name, "prepare") / "test.parquet")
    rows = {item_id: row for row, item_id in enumerate(data.items["item_id"], start=1)}
    asked = [
        (data.validation.users, data.validation.negatives),
        (test["user"].to_numpy(), test["negatives"].to_numpy()),
    ]
    for user, user_id in enumerate(data.users["user_id"]):
        had = [rows[item] for item in raw.filter(user_id=user_id)["item_id"]]
        split = len(had) > 2
        assert data.train[user].tolist() == (had[:-2] if split else had)
        assert data.users["length"][user] == (len(had) - 1 if split else len(had))
        for users, negatives in asked:
            of_user = negatives[users == user]
            assert len(of_user) == split
            for row in of_user:
                real = row[row > 0]
                assert not set(real) & set(had)
                assert len(set(real)) == len(real) == min(settings.prepare.negatives, V - len(set(had)))
    assert data.items["count"].to_list() == np.bincount(data.train.items, minlength=V + 1)[1:].tolist()


def test_same_input_gives_same_bytes(root, tiny):
    def bytes_of():
        prepare.run(tiny)
        return {file.name: file.read_bytes() for file in artifact("tiny", "prepare").iterdir()}

    first = bytes_of()
    assert len(first) == 8
    assert bytes_of() == first


def test_ties_in_time_keep_the_order_of_the_file(mine, table):
    folder = table("user_id,item_id,timestamp\nu,c,1\nu,a,1\nu,b,1\nv,a,2\nv,b,1\nv,c,3\n")
    prepared = prepare.run(mine(folder))
    assert [prepared.titles[i] for i in prepared.train.items] == ["Cherry", "Banana"]


@pytest.mark.parametrize(("counted", "tail"), [("training", ["a", "b", "c"]), ("all", ["b"])])
def test_held_out_interactions_make_an_item_popular_where_the_recipe_says_so(mine, table, counted, tail):
    """Item c is held out three times and never trained; popular is what occurs three times."""
    rows = [("u", "abc"), ("v", "bac"), ("w", "aac")]
    lines = [f"{user},{item},{time}" for user, items in rows for time, item in enumerate(items)]
    settings = mine(
        table("\n".join(["user_id,item_id,timestamp", *lines])), tail_item_below=3, tail_item_counts=counted
    )
    items = prepare.run(settings).items
    assert items.filter(tail="tail_item")["item_id"].to_list() == tail
    assert dict(items.select("item_id", "count").iter_rows())["c"] == 0


def test_nothing_left_is_an_error(mine, table):
    folder = table("user_id,item_id,timestamp\nu,a,1\nu,b,2\nu,c,3\n")
    with pytest.raises(InputError, match=r"no interaction is left after filtering \(3 before\): lower 'min_user' or"):
        prepare.run(mine(folder).changed({"data.min_item": 2}))
    folder = table("user_id,item_id,timestamp\nu,a,1\nv,b,2\n")
    with pytest.raises(InputError, match=r"no user has 3 interactions \(the busiest has 1\), one to learn from"):
        prepare.run(mine(folder))


def test_further_columns_of_interactions_do_no_harm(mine, table):
    folder = table("user_id,item_id,timestamp,item,user,row\nu,a,1,9,9,9\nu,b,2,9,9,9\nu,c,3,9,9,9\n")
    prepared = prepare.run(mine(folder))
    assert prepared.titles[prepared.train.items[0]] == "Apple"


def test_nothing_is_learned_after_the_first_point_in_time(root, tiny):
    chosen = tiny.changed({"prepare.split": "temporal"})
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


def test_who_comes_at_the_first_point_in_time_has_nothing_to_learn_from(mine, table):
    """Of eight interactions the fifth and the seventh begin validation and test; the fifth is all that w ever did."""
    rows = ["u,a,1", "u,b,2", "v,a,3", "v,b,4", "w,a,5", "u,c,6", "v,c,7", "u,a,8"]
    folder = table("\n".join(["user_id,item_id,timestamp", *rows]))
    settings = mine(folder, min_user=1).changed({"prepare.split": "temporal", "prepare.temporal_shares": [0.5, 0.75]})
    assert prepare.run(settings).users["user_id"].to_list() == ["u", "v"]


def test_a_split_that_leaves_nothing_is_named(root, tiny):
    late = tiny.changed({"prepare.split": "temporal", "prepare.temporal_shares": [0.001, 0.002]})
    with pytest.raises(InputError, match=r"no user has the interactions before and after both points in time"):
        prepare.run(late)


def test_short_users_in_training_only_add_what_they_have_to_the_card(mine, table):
    folder = table("user_id,item_id,timestamp\nu,a,1\nu,b,2\nu,c,3\nv,a,4\n")
    card = prepare.run(mine(folder, min_user=1, short_users="train_only")).card
    assert (card["users"], card["interactions"], card["longest_user"]) == (2, 4, 3)


def test_dropped_short_users_are_not_counted(mine, table):
    """`one_pass` counts the user of b and of the once-bought d before d goes, and leaves her two: too few to split."""
    rows = [*"abc", *"abd"]
    lines = [f"{user},{item},{t}" for t, (user, item) in enumerate(zip("uuuvvv", rows, strict=True))]
    lines += ["w,a,9", "w,b,10", "w,c,11"]
    folder = table("user_id,item_id,timestamp\n" + "\n".join(lines) + "\n", "item_id,title\na,A\nb,B\nc,C\nd,D\n")
    recipe = {"filter": "one_pass", "min_user": 3, "min_item": 2}
    counts = {choice: prepare.run(mine(folder, **recipe, short_users=choice)).card for choice in ("train_only", "drop")}
    assert [counts["train_only"][what] for what in ("users", "items", "interactions")] == [3, 3, 8]
    assert [counts["drop"][what] for what in ("users", "items", "interactions")] == [2, 3, 6]


def test_only_short_users_are_an_error(mine, table):
    folder = table("user_id,item_id,timestamp\nu,a,1\nv,b,2\n")
    with pytest.raises(InputError, match=r"no user has the 3 interactions that the split 'leave_one_out' needs"):
        prepare.run(mine(folder, min_user=1, short_users="train_only"))


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


# --- what the stage hands on ---


def test_pairs_become_sequences_also_of_users_who_have_none():
    pairs = pl.DataFrame({"user": [0, 0, 2], "item": [5, 6, 7]})
    found = sequences(pairs, 4)
    assert [items.tolist() for items in found] == [[5, 6], [], [7], []]
    assert [items.tolist() for items in sequences_of([5, 6], [], [7], [])] == [items.tolist() for items in found]


def test_targets_of_an_empty_split_are_empty():
    frame = pl.DataFrame(schema={"user": pl.Int32, "item": pl.Int32, "negatives": pl.Array(pl.Int32, 3)})
    found = targets(frame)
    assert len(found.users) == len(found.items) == len(found.negatives) == 0


def test_what_is_loaded_is_what_was_made(data):
    again = dataset.load("tiny")
    assert (again.name, again.n_users, again.n_items) == ("tiny", 90, 48)
    assert [items.tolist() for items in again.train] == [items.tolist() for items in data.train]
    assert (again.validation.negatives == data.validation.negatives).all()
    assert again.users.equals(data.users)
    assert again.texts.equals(data.texts)
    assert again.card == data.card
    assert again.titles[0] == ""


def test_an_attribute_is_text_and_one_that_is_not_there_is_named(data):
    assert set(attribute(data, "club_member", "some.key")) <= {"yes", "no", ""}
    with pytest.raises(InputError, match=r"key 'some.key' names 'tail', and users have: club_member"):
        attribute(data, "tail", "some.key")


def test_negatives_depend_on_the_seed_and_on_nothing_else(tiny):
    raw = load_raw(tiny.folder, tiny.data)

    def drawn(seed):
        settings = tiny.changed({"prepare.seed": seed})
        frames, _ = prepare.prepared(settings, raw, prepare.clean(raw, settings.data))
        return frames["validation"]["negatives"].to_list()

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_repeats_go_before_the_filter_counts(tmp_path):
    """A user of two items, one of them twice, has too few for three."""
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp\nu,a,1\nu,a,2\nu,b,3\nv,a,1\nv,b,2\nv,c,3\n")
    recipe = DatasetSettings(repeats="first", min_user=3, min_item=1)
    assert set(prepare.clean(load_raw(tmp_path, recipe), recipe)["user_id"]) == {"v"}


def test_random_ties_break_the_order_of_the_file_within_a_time_only(tmp_path):
    names = [f"i{number:03}" for number in range(100)]
    rows = "".join(f"u,{name},{number // 50}\n" for number, name in enumerate(names))
    (tmp_path / "interactions.csv").write_text(f"user_id,item_id,timestamp\n{rows}")
    in_file, random, again = (
        prepare.clean(load_raw(tmp_path, recipe), recipe)["item_id"].to_list()
        for recipe in (DatasetSettings(), DatasetSettings(ties="random"), DatasetSettings(ties="random"))
    )
    assert in_file == names
    assert random == again != names
    assert set(random[:50]) == set(names[:50])
    assert 0.3 < sum(one < other for one, other in pairwise(random)) / 99 < 0.7
