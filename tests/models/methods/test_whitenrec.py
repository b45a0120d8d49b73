"""WhitenRec: items are their whitened text alone."""

import torch
from helpers import V


def test_the_text_is_frozen_and_not_saved(build):
    model = build(method="whitenrec")
    assert "views" in dict(model.table.named_buffers())
    assert not [name for name in model.state_dict() if "views" in name]
    assert not [name for name, _ in model.named_parameters() if "ids" in name]


def test_an_item_is_the_sum_of_both_projected_views(build):
    model, alone = build(method="whitenrec"), build(method="whitenrec", changes={"methods.whitenrec.groups": 1})
    assert model.table.views.shape == (V + 2, 2, 24)
    assert alone.table.views.shape == (V + 2, 1, 24)
    torch.testing.assert_close(alone.table.views[:, 0], model.table.views[:, 0])
    items = torch.tensor([3, 7])
    expected = model.table.head(model.table.views[items, 0]) + model.table.head(model.table.views[items, 1])
    torch.testing.assert_close(model.item_vectors(items), expected)
