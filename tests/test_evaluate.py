"""Stage 05: the test split, groups, the published frames."""

from unittest.mock import MagicMock

import nbformat
import numpy as np
import polars as pl
import pytest
import torch
from conftest import ROOT, changed, ragged
from llmesr import evaluate, prepare, retrieve, train
from llmesr.errors import InputError
from llmesr.evaluate import references
from llmesr.evaluate.groups import families, recombine
from llmesr.evaluate.significance import compare
from llmesr.metrics import ndcg
from llmesr.models import scoring
from llmesr.models.scoring import item_table, represent
from llmesr.paths import artifact, results
from llmesr.prepare.dataset import Sequences
from scipy import stats

RUNS = {"matrix__backbones": ["sasrec", "bert4rec"], "matrix__methods": ["none", "llmesr"], "matrix__seeds": [1, 2]}


@pytest.fixture
def settings(tiny, data, embeddings, similar, monkeypatch):
    """A small matrix, trained for an epoch."""
    chosen = changed(tiny, train__epochs=1, **RUNS)
    retrieve.run(chosen, data, embeddings)
    monkeypatch.setattr(evaluate.embed, "load", lambda name: embeddings)
    for run in chosen.matrix.runs():
        train.run(chosen, data, embeddings, similar, *run)
    return chosen


def test_published_frames(settings, data):
    found = evaluate.run(settings, data)
    metrics = pl.read_csv(results("tiny") / "metrics.csv")
    assert metrics.columns == ["dataset", "backbone", "method", "seed", "protocol", "group", "metric", "value"]
    assert metrics.height == found.metrics.height
    timings = pl.read_csv(results("tiny") / "timings.csv")
    assert timings.columns == ["dataset", "backbone", "method", "seed", "what", "value", "unit"]
    run = ["backbone", "method", "seed"]
    assert metrics.select(run).n_unique() == timings.select(run).n_unique() == 8 + 2  # and the references
    assert set(metrics["protocol"]) == {"sampled100", "full"}
    assert {f"{m}@{k}" for m in ("HR", "NDCG") for k in (5, 10, 20)} | {"users"} == set(metrics["metric"])
    assert metrics.null_count().sum_horizontal()[0] == 0
    assert metrics["value"].is_finite().all()


def test_groups_recombine_in_the_file(settings, data):
    evaluate.run(settings, data)
    metrics = pl.read_csv(results("tiny") / "metrics.csv").filter(
        (pl.col("seed") == 1) & (pl.col("method") == "llmesr")
    )
    for protocol in ("sampled100", "full"):
        one = metrics.filter((pl.col("protocol") == protocol) & (pl.col("backbone") == "sasrec"))
        value = {
            (group, metric): number for group, metric, number in one.select("group", "metric", "value").iter_rows()
        }
        for family in ("_item", "_user", "popularity_", "length_"):
            groups = [group for group, metric in value if metric == "users" and family in group]
            assert sum(value[group, "users"] for group in groups) == value["overall", "users"] == 90
            mean = sum(value[group, "users"] * value[group, "NDCG@10"] for group in groups) / 90
            assert mean == pytest.approx(value["overall", "NDCG@10"], abs=1e-5)


def test_metrics_equal_a_plain_computation(settings, data):
    """The whole way again with a loop over users and a full sort, for one run."""
    found = evaluate.run(settings, data)
    model = train.load(settings, evaluate.embed.load("tiny"), retrieve.load("tiny"), "sasrec", "llmesr", 2).model
    split = evaluate.read_test_split(data, torch.device("cpu"))
    states = represent(model, split.inputs, torch.arange(data.n_users), data.n_items, 20)
    scores = (states @ item_table(model, data.n_items).T).numpy()
    for protocol in ("sampled100", "full"):
        values = []
        for user, (item, negatives) in enumerate(zip(split.targets.items, split.targets.negatives, strict=True)):
            known = {*data.train[user], data.validation.items[user]}
            others = set(range(1, data.n_items + 1)) - known - {item} if protocol == "full" else set(negatives)
            order = sorted([item, *others], key=lambda candidate: -scores[user, candidate])
            values.append(ndcg(np.array([order.index(item) + 1.0]), 10)[0])
        row = found.metrics.filter(
            (pl.col("backbone") == "sasrec")
            & (pl.col("method") == "llmesr")
            & (pl.col("seed") == 2)
            & (pl.col("protocol") == protocol)
            & (pl.col("group") == "overall")
            & (pl.col("metric") == "NDCG@10")
        )
        assert row["value"][0] == pytest.approx(np.mean(values), abs=1e-9)


def test_same_runs_same_bytes(settings, data):
    def bytes_of():
        evaluate.run(settings, data)
        return [(results("tiny") / name).read_bytes() for name in ("metrics.csv", "summary/sasrec-llmesr.json")]

    assert bytes_of() == bytes_of()


def test_a_lost_case_is_noticed():
    values = np.array([1.0, 0.0, 1.0, 0.0])
    recombine(values, {"item": np.array(["a", "a", "b", "b"])})
    with pytest.raises(AssertionError, match=r"the groups of 'item' do not recombine"):
        recombine(values, {"item": np.array(["a", "a", "b"])})


def test_lesson_recombines_what_groups_there_are():
    notebook = nbformat.read(ROOT / "notebooks" / "05_evaluate.ipynb", 4)
    (source,) = [cell.source for cell in notebook.cells if "again = " in cell.source]
    for sizes in ({"tail_item": 3.0}, {"head_item": 3.0}, {"tail_item": 1.0, "head_item": 3.0}):
        rows = [("overall", "HR@10", 0.5), *[(group, "HR@10", 0.5) for group in sizes]]
        rows += [(group, "users", size) for group, size in sizes.items()]
        metrics = pl.DataFrame(rows, schema=["group", "metric", "value"], orient="row").with_columns(
            backbone=pl.lit("sasrec"), method=pl.lit("none"), seed=1, protocol=pl.lit("full")
        )
        names = {"settings": MagicMock(), "found": MagicMock(metrics=metrics)}
        names["settings"].matrix.runs.return_value = [("sasrec", "none", 1)]
        exec(source, names)
        assert names["again"] == 0.5


def test_every_case_has_one_label_a_family(settings, data):
    split = evaluate.read_test_split(data, torch.device("cpu"))
    grouped = families(split.targets, data)
    assert set(grouped) == {"item", "user", "popularity", "length"}
    counts = data.items["count"].to_numpy()[split.targets.items - 1]
    assert ((grouped["item"] == "tail_item") == (counts < data.card["tail_item_below"])).all()
    lengths = split.inputs.lengths.numpy()[split.targets.users]
    assert ((grouped["user"] == "tail_user") == (lengths < data.card["tail_user_below"])).all()


def test_input_at_test_time_is_training_and_validation(data):
    split = evaluate.read_test_split(data, torch.device("cpu"))
    for user in (0, 17, 89):
        known = split.inputs.take(torch.tensor([user]), 99).items.tolist()
        assert known == [*data.train[user], data.validation.items[user]]


def test_switches_change_only_their_protocol(settings, data):
    def overall(**changes):
        frame = evaluate.run(changed(settings, **changes), data).metrics
        kept = frame.filter((pl.col("group") == "overall") & (pl.col("metric") == "NDCG@20"))
        return [kept.filter(pl.col("protocol") == name)["value"].to_list() for name in ("sampled100", "full")]

    sampled, full = overall()
    redrawn, unchanged = overall(evaluate__redraw_negatives=True)
    assert redrawn != sampled
    assert unchanged == full
    same, harder = overall(evaluate__exclude_seen=False)
    assert same == sampled
    assert all(a <= b for a, b in zip(harder, full, strict=True))
    assert harder != full


def test_popularity_and_item_knn_by_hand():
    train = Sequences(np.array([1, 2, 1, 2, 2, 3]), np.array([0, 2, 4, 6]))  # {1, 2}, {1, 2}, {2, 3}
    users = ragged([1], [3, 3])
    assert references.popularity(train, 3)(users).tolist() == [[0, 2, 3, 1]] * 2
    both = 2 / (2 * 3) ** 0.5  # 1 and 2 are together twice; 1 occurs twice, 2 three times
    rare = 1 / 3**0.5  # 2 and 3
    scores = references.item_knn(train, 3)(users)
    np.testing.assert_allclose(scores, [[0, 0, both, 0], [0, 0, rare, 0]], rtol=1e-6)


@pytest.mark.parametrize("name", references.REFERENCES)
def test_references_are_ranked_as_a_plain_loop_does(settings, data, name, monkeypatch):
    split = evaluate.read_test_split(data, torch.device("cpu"))
    score = references.REFERENCES[name](data.train, data.n_items)
    monkeypatch.setattr(scoring, "BLOCK_USERS", data.n_users - 1)  # the last block has one user
    ranks = dict(evaluate.rank_reference(score, split, data, settings))
    for row, (user, item) in enumerate(zip(split.targets.users, split.targets.items, strict=True)):
        known = split.inputs.take(torch.tensor([user]), 99)
        scores = score(known)[0]
        new = set(range(1, data.n_items + 1)) - set(known.items.tolist()) - {item}
        for protocol, others in (("full", new), ("sampled100", split.targets.negatives[row])):
            others = scores[list(others)]
            expected = 1 + (others > scores[item]).sum() + (others == scores[item]).sum() / 2
            assert ranks[protocol][row] == expected


def test_a_temporal_split_runs_to_its_metrics(tiny, root, similar, embeddings, monkeypatch):
    """Not every user is asked, and what is read goes beyond training and the validation item."""
    chosen = changed(tiny, train__epochs=1, prepare__split="temporal", evaluate__references=["popularity"])
    chosen = changed(chosen, matrix__backbones=["sasrec"], matrix__methods=["none"], matrix__seeds=[1])
    data = prepare.run(chosen)
    monkeypatch.setattr(evaluate.embed, "load", lambda name: embeddings)
    retrieve.run(chosen, data, embeddings)
    train.run(chosen, data, embeddings, similar, "sasrec", "none", 1)
    found = evaluate.run(chosen, data)
    asked = found.metrics.filter(metric="users", group="overall", protocol="full", method="none")["value"][0]
    assert 0 < asked < data.n_users
    split = evaluate.read_test_split(data, torch.device("cpu"))
    assert (split.inputs.lengths.numpy() > data.train.lengths + 1).any()


def test_missing_run_is_named(settings, data):
    wider = changed(settings, matrix__seeds=[1, 2, 3])
    with pytest.raises(InputError, match=r"run `dvc repro train@sasrec-none-3` first"):
        evaluate.run(wider, data)


def test_missing_test_split_is_named(data):
    (artifact("tiny", "prepare") / "test.parquet").unlink()
    with pytest.raises(InputError, match=r"test.parquet is missing: run `dvc repro prepare` first"):
        evaluate.read_test_split(data, torch.device("cpu"))


# --- significance ---


def ranks_of(users, **methods):
    """Ranks of some seeds: method → a list of ranks for each seed; all test items are of the tail."""
    parts = [
        pl.DataFrame({"user": range(len(ranks)), "user_group": users, "rank": np.array(ranks, np.float32)}).select(
            pl.lit("tail_item").alias("item_group"),
            pl.lit("sasrec").alias("backbone"),
            pl.lit(method).alias("method"),
            pl.lit(seed).alias("seed"),
            pl.lit("full").alias("protocol"),
            pl.all(),
        )
        for method, seeds in methods.items()
        for seed, ranks in enumerate(seeds)
    ]
    return pl.concat(parts)


def test_a_paired_test_by_hand():
    """Differences of HR@10, seeds averaged: 1, 1/2, 0, 1/2, so the mean is 1/2 and t = 0.5 / sqrt(1/6 / 4)."""
    users = ["tail_user", "head_user"] * 2
    frame = compare(ranks_of(users, none=[[99] * 4] * 2, llmesr=[[1, 1, 99, 99], [1, 99, 99, 1]]))
    row = frame.filter(method="llmesr", against="none", group="overall", metric="HR@10").row(0, named=True)
    assert row["difference"] == pytest.approx(0.5)
    error = (1 / 6 / 4) ** 0.5
    assert row["p"] == pytest.approx(2 * stats.t.sf(0.5 / error, 3))
    assert row["high"] - row["low"] == pytest.approx(2 * stats.t.ppf(0.975, 3) * error)
    head = frame.filter(method="llmesr", against="none", group="head_user", metric="HR@10")
    assert head["difference"][0] == pytest.approx(0.5)
    assert head["users"][0] == 2
    assert frame.filter(against="llmesr").is_empty()  # the same pair once more


def test_chance_is_rarely_called_significant_and_a_real_difference_is():
    rng = np.random.default_rng(0)
    users = ["tail_user"] * 500
    others = {f"m{i}": [rng.integers(1, 100, 500)] for i in range(20)}
    real = {"none": [rng.integers(1, 100, 500)], "better": [rng.integers(1, 30, 500)]}
    frame = compare(ranks_of(users, **real, **others))
    against_none = frame.filter(against="none", metric="NDCG@10", group="overall")
    assert (against_none["q"] >= against_none["p"]).all()
    assert against_none.filter(method="better")["significant"].all()
    assert against_none.filter(pl.col("method") != "better")["significant"].sum() <= 1


def test_equal_methods_do_not_differ():
    frame = compare(ranks_of(["tail_user"] * 3, none=[[1, 5, 99]], llminit=[[1, 5, 99]]))
    assert frame["p"].unique().to_list() == [1.0]
    assert not frame["significant"].any()
    assert frame.null_count().sum_horizontal()[0] == 0
