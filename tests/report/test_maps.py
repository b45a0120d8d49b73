"""Maps of item tables."""

import numpy as np
import polars as pl
from llmesr.report import maps

MANY = [f"k{i}" for i in range(maps.CATEGORIES)]
ITEMS = pl.DataFrame({"title": MANY, "two": ["a", "b"] * 4, "brand": MANY, "tail": ["tail_item"] * 8})


def test_the_category_is_the_one_that_the_settings_name():
    named = ITEMS.with_columns(pl.Series("genres", ["x", "x", None, "y"] * 2))
    name, kinds = maps.category(named, "genres")
    assert (name, kinds[:4].tolist()) == ("genres", ["x", "x", maps.OTHER, "y"])


def test_without_a_name_the_category_is_an_attribute_that_has_enough_values():
    assert maps.category(ITEMS, None)[0] == "brand"
    assert maps.category(ITEMS.select("title", "two"), None)[0] == "two"
    assert maps.category(ITEMS.select("title"), None)[0] == "title"


def test_rare_categories_are_other():
    names = [f"k{i}" for i in range(maps.CATEGORIES + 3)]
    items = pl.DataFrame({"title": [str(i) for i in range(2 * len(names) - 3)], "kind": names + names[:-3]})
    _, kinds = maps.category(items, "kind")
    assert set(kinds) == {*names[:-3], maps.OTHER}


def test_neighbours_kept_by_hand():
    one = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], dtype=float)
    other = np.array([[1, 0], [0, 1], [0.1, 1], [1, 0.1]], dtype=float)
    assert maps.neighbours_kept(one, one * 3, k=1) == 1.0
    assert maps.neighbours_kept(one, other, k=1) == 0.0
    assert maps.neighbours_kept(one, other, k=10) == 1.0  # all that there are


def test_a_map_shows_every_item_in_both_rows():
    rng = np.random.default_rng(0)
    points = maps.project(rng.normal(size=(30, 5)))
    assert points.shape == (30, 2)
    kinds = np.array(["a", "b", maps.OTHER] * 10)
    upper, lower = maps.draw({"table": points}, np.arange(30), "kind", kinds).axes[:2]
    assert len(upper.collections[0].get_offsets()) == 30
    assert sum(len(part.get_offsets()) for part in lower.collections) == 30
