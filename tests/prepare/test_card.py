"""The dataset card, by hand."""

import numpy as np
import polars as pl
from llmesr.prepare.card import describe


def test_the_card_by_hand():
    users = pl.DataFrame({"tail": ["tail_user", "tail_user", "head_user", "head_user"]})
    items = pl.DataFrame(
        {
            "count": [10, 9, 30, 29, 0],
            "title": ["a", "b", "c", "c", "d"],
            "tail": ["tail_item", "tail_item", "head_item", "tail_item", "tail_item"],
        }
    )
    card = describe(users, items, np.array([10, 9, 30, 29]), {"user": 11, "item": 12})
    assert card["interactions"] == 78
    assert card["average_length"] == 19.5
    assert card["density_percent"] == 100 * 78 / 20
    assert card["longest_user"] == 30
    assert card["users_under_10"] == 0.25
    assert card["users_under_30"] == 0.75
    assert card["items_under_10"] == 0.4
    assert card["items_under_30"] == 0.8
    assert card["items_never_in_training"] == 1
    assert card["distinct_titles"] == 4
    assert (card["tail_user_below"], card["tail_item_below"]) == (11, 12)
    assert (card["tail_users"], card["tail_items"]) == (0.5, 0.8)
