"""How time and memory grow: the synthetic shop, what is measured, the fit."""

import numpy as np
import polars as pl
import pytest
from llmesr.paths import ROOT, TINY_PARAMS
from llmesr.report import growth
from llmesr.settings import load
from llmesr.tools import scale
from llmesr.tools.scale import Size
from llmesr.tools.scale.generate import TOPICS, interactions, vectors


def test_the_shop_has_a_power_law_and_users_of_one_topic():
    found = interactions(20_000, 6_400, 10, np.random.default_rng(0))
    per_user = found["user_id"].value_counts()["count"]
    assert len(per_user) == 20_000
    assert per_user.min() == 5
    assert abs(per_user.mean() - 10) < 0.2
    assert found["item_id"].min() >= 0
    assert found["item_id"].max() < 6_400
    # rank r within a topic holds log(1 + 1/r) of the log-uniform mass: 1/r
    rank = (found["item_id"] // TOPICS + 1).value_counts().sort("item_id")["count"].to_numpy()
    slope = np.polyfit(np.log(np.arange(2, 60)), np.log(rank[1:59]), 1)[0]
    assert abs(slope + 1) < 0.05
    own = found.group_by("user_id").agg((pl.col("item_id") % TOPICS).mode().first().alias("topic"))
    kept = found.join(own, on="user_id").select((pl.col("item_id") % TOPICS == pl.col("topic")).mean()).item()
    assert 0.65 < kept < 0.85


@pytest.mark.parametrize(("users", "items", "length"), [(1, 1, 5), (3, 10, 5), (50, 64, 7)])
def test_the_smallest_shops_hold_together(users, items, length):
    found = interactions(users, items, length, np.random.default_rng(1))
    assert found["user_id"].n_unique() == users
    assert found["item_id"].is_between(0, items - 1).all()


def test_vectors_of_a_topic_lie_together():
    found = vectors(np.arange(4 * TOPICS), 64, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    cosines = found @ found.T
    same = np.equal.outer(np.arange(len(found)) % TOPICS, np.arange(len(found)) % TOPICS)
    np.fill_diagonal(same, val=False)
    assert cosines[same].mean() > 0.4 > 0.1 > cosines[~same & ~np.eye(len(found), dtype=bool)].mean()


def test_one_thing_grows_at_a_time():
    settings = load(ROOT / TINY_PARAMS)
    found = scale.sizes(settings)
    assert found[0] == Size(*settings.scale.base)
    assert found[-1] == Size(*settings.scale.largest)
    assert len(set(found)) == len(found) == 1 + 3 * (len(settings.scale.factors) - 1) + 1
    assert all(sum(a != b for a, b in zip(vars(s).values(), settings.scale.base, strict=True)) <= 1 for s in found[:-1])


def test_the_fit_finds_the_exponents_that_the_times_were_made_of():
    settings = load(ROOT / TINY_PARAMS)
    powers = {"prepare": (1, 0.2, 1), "retrieve": (2, 0.1, 0.3), "train": (1, 0.5, 1)}
    rows = [
        {**vars(size), "step": step, "seconds": size.users**a * size.items**b * size.length**c, "peak_mb": 1.0}
        for size in scale.sizes(settings)
        for step, (a, b, c) in powers.items()
    ]
    fits = scale.growth(pl.DataFrame(rows), settings)
    for step, exponents in powers.items():
        np.testing.assert_allclose(fits.filter(step=step)["exponent"], exponents, atol=1e-9)
    assert "| retrieve | 2.00 ± 0.00 | 0.10 ± 0.00 | 0.30 ± 0.00 |" in growth.exponents(fits)


@pytest.mark.slow
def test_a_size_is_measured_step_by_step_and_leaves_nothing():
    settings = load(ROOT / TINY_PARAMS)
    rows = scale.measure(settings, Size(30, 40, 6))
    assert [row["step"] for row in rows] == list(scale.STEPS)
    assert all(row["seconds"] > 0 and row["peak_mb"] > 50 for row in rows)
    assert {row["interactions"] for row in rows} == {rows[0]["interactions"]}
    assert rows[0]["interactions"] >= 150
    assert not (ROOT / "artifacts" / settings.scale.name).exists()
    assert not (ROOT / "runs" / settings.scale.name / "trained").exists()
