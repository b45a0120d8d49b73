"""Paired tests over users, and the false discovery rate."""

import numpy as np
import polars as pl
import pytest
from llmesr.evaluate.significance import SCHEMA, compare
from scipy import stats


def ranks_of(users, backbone="sasrec", **methods):
    """Ranks of some seeds: method → a list of ranks for each seed; all test items are of the tail."""
    parts = [
        pl.DataFrame({"user": range(len(ranks)), "user_group": users, "rank": np.array(ranks, np.float32)}).select(
            pl.lit("tail_item").alias("item_group"),
            pl.lit(backbone).alias("backbone"),
            pl.lit(method).alias("method"),
            pl.lit(seed).alias("seed"),
            pl.lit("full").alias("protocol"),
            pl.all(),
        )
        for method, seeds in methods.items()
        for seed, ranks in enumerate(seeds)
    ]
    return pl.concat(parts)


def random_ranks(rng, names, users=50):
    return {name: [rng.integers(1, 20, users)] for name in names}


def test_a_paired_test_by_hand():
    """Differences of HR@10, averaged over seeds: 1, 1/2, 0, 1/2; the mean is 1/2 and t = 0.5 / sqrt(1/6 / 4)."""
    users = ["tail_user", "head_user"] * 2
    frame = compare(ranks_of(users, base=[[99] * 4] * 2, llmesr=[[1, 1, 99, 99], [1, 99, 99, 1]]))
    row = frame.filter(method="llmesr", against="base", group="overall", metric="HR@10").row(0, named=True)
    assert row["difference"] == pytest.approx(0.5)
    error = (1 / 6 / 4) ** 0.5
    assert row["p"] == pytest.approx(2 * stats.t.sf(0.5 / error, 3))
    assert row["high"] - row["low"] == pytest.approx(2 * stats.t.ppf(0.975, 3) * error)
    head = frame.filter(method="llmesr", against="base", group="head_user", metric="HR@10")
    assert head["difference"][0] == pytest.approx(0.5)
    assert head["users"][0] == 2
    assert frame.filter(against="llmesr").is_empty()  # the same pair once more


def test_a_reference_without_a_backbone_is_compared_with_on_each():
    users = ["tail_user"] * 4
    popular = ranks_of(users, "untrained", popularity=[[1, 1, 1, 99]])
    parts = [ranks_of(users, name, base=[ranks]) for name, ranks in (("sasrec", [1, 99, 99, 99]), ("gru4rec", [1] * 4))]
    frame = compare(pl.concat([*parts, popular])).filter(group="overall", metric="HR@10")
    found = {row["backbone"]: row["difference"] for row in frame.to_dicts()}
    assert found == {"sasrec": pytest.approx(-0.5), "gru4rec": pytest.approx(0.25)}
    assert set(frame.select("method", "against").rows()) == {("base", "popularity")}


def test_q_is_that_of_benjamini_and_hochberg_within_a_family():
    """All backbones, groups and methods that are compared with one method, under one protocol and metric."""
    rng = np.random.default_rng(1)
    users = ["tail_user", "head_user"] * 25
    parts = [ranks_of(users, name, **random_ranks(rng, ["base", "llmesr", "other"])) for name in ("sasrec", "gru4rec")]
    frame = compare(pl.concat(parts), cutoffs=(5, 10))
    for _, family in frame.group_by(["protocol", "metric", "against"]):
        p = np.sort(family["p"].to_numpy())
        adjusted = np.minimum.accumulate((p * len(p) / np.arange(1, len(p) + 1))[::-1])[::-1]
        np.testing.assert_allclose(np.sort(family["q"].to_numpy()), adjusted, atol=1e-12)
    assert (frame["significant"] == (frame["q"] < 0.05)).all()
    assert set(frame["metric"]) == {"HR@5", "HR@10", "NDCG@5", "NDCG@10"}


def test_the_other_way_round_is_the_same_test():
    rng = np.random.default_rng(2)
    ranks = ranks_of(["tail_user"] * 50, **random_ranks(rng, ["one", "two"]))
    forth, back = (compare(ranks, (name,)).filter(group="overall", metric="NDCG@10") for name in ("one", "two"))
    assert forth["difference"][0] == pytest.approx(-back["difference"][0])
    assert (forth["low"][0], forth["high"][0]) == pytest.approx((-back["high"][0], -back["low"][0]))
    assert forth["p"][0] == pytest.approx(back["p"][0])


def test_chance_is_rarely_called_significant_and_a_real_difference_is():
    rng = np.random.default_rng(0)
    users = ["tail_user"] * 500
    others = {f"m{i}": [rng.integers(1, 100, 500)] for i in range(20)}
    real = {"base": [rng.integers(1, 100, 500)], "better": [rng.integers(1, 30, 500)]}
    frame = compare(ranks_of(users, **real, **others))
    against_base = frame.filter(against="base", metric="NDCG@10", group="overall")
    assert (against_base["q"] >= against_base["p"]).all()
    assert against_base.filter(method="better")["significant"].all()
    assert against_base.filter(pl.col("method") != "better")["significant"].sum() <= 1


def test_equal_methods_do_not_differ():
    frame = compare(ranks_of(["tail_user"] * 3, base=[[1, 5, 99]], llminit=[[1, 5, 99]]))
    assert frame["p"].unique().to_list() == [1.0]
    assert not frame["significant"].any()
    assert frame.null_count().sum_horizontal()[0] == 0


def test_a_group_of_one_user_has_no_test():
    frame = compare(ranks_of(["tail_user", "tail_user", "head_user"], base=[[1, 5, 99]], llmesr=[[2, 1, 1]]))
    head = frame.filter(group="head_user", metric="HR@10").row(0, named=True)
    assert (head["difference"], head["low"], head["high"], head["p"]) == (1.0, 1.0, 1.0, 1.0)


def test_nothing_to_compare_with_gives_an_empty_frame():
    frame = compare(ranks_of(["tail_user"] * 3, llminit=[[1, 5, 99]]))
    assert frame.is_empty()
    assert dict(frame.schema) == SCHEMA


def test_every_group_is_tested_on_its_own_cases():
    """Three of five cases rise from no hit to a hit; a group's difference is the share of its cases that do."""
    users = ["tail_user", "tail_user", "head_user", "head_user", "head_user"]
    items = ["tail_item", "head_item", "head_item", "tail_item", "head_item"]
    ranks = ranks_of(users, base=[[99] * 5], llmesr=[[1, 1, 1, 99, 99]])
    frame = compare(ranks.with_columns(item_group=pl.Series(items * 2))).filter(metric="HR@10")
    assert {row["group"]: (row["users"], pytest.approx(row["difference"])) for row in frame.rows(named=True)} == {
        "overall": (5, 3 / 5),
        "tail_user": (2, 1),
        "head_user": (3, 1 / 3),
        "tail_item": (2, 1 / 2),
        "head_item": (3, 2 / 3),
    }


def test_each_backbone_has_its_own_values():
    up, down = [[99, 99, 99, 1]], [[1, 1, 99, 99]]
    parts = [ranks_of(["tail_user"] * 4, "sasrec", base=up, llmesr=down)]
    parts.append(ranks_of(["tail_user"] * 4, "gru4rec", base=down, llmesr=down))
    frame = compare(pl.concat(parts)).filter(metric="HR@10", group="overall")
    assert dict(frame.select("backbone", "difference").rows()) == {"sasrec": 0.25, "gru4rec": 0.0}


def test_q_does_not_depend_on_what_else_is_asked_of_other_protocols_and_cutoffs():
    rng = np.random.default_rng(3)
    full = ranks_of(["tail_user", "head_user"] * 25, **random_ranks(rng, ["base", "llmesr", "other"]))
    sampled = full.with_columns(protocol=pl.lit("sampled"), rank=pl.col("rank").shuffle(0))
    alone, beside = compare(full), compare(pl.concat([full, sampled]), cutoffs=(5, 10))
    again = beside.filter(pl.col("metric").is_in(alone["metric"].implode()), protocol="full")
    assert again.height == alone.height
    keys = ["group", "metric", "method", "against"]
    assert again.sort(keys)["q"].to_list() == pytest.approx(alone.sort(keys)["q"].to_list())
