"""Hidden views: more hiding hides more of the same items, and the unhidden method scores as after its training."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from llmesr.extras.modalities import missing
from llmesr.models.inputs import ItemView
from llmesr.runs.pool import train_all
from llmesr.runs.store import Run


@pytest.fixture
def run(tiny, data, inputs):
    """A run that fuses the text with a graph, which lacks every third item."""
    present = np.arange(data.n_items + 1) % 3 > 0
    vectors = np.random.default_rng(3).normal(size=(data.n_items + 1, 5)).astype(np.float32)
    graph = ItemView(vectors * present[:, None], present)
    settings = tiny.changed({"methods.multiview.views": ["text", "graph"], "train.epochs": 2})
    return Run(settings, "sasrec", "multiview", 42, data, replace(inputs, views={"graph": graph}))


def test_hiding_more_hides_the_same_items_and_more(run):
    table = run.build().table
    everything, kept = table.present.clone(), []
    for share in (0.0, 0.4, 0.8, 1.0):
        table.present.copy_(everything)
        missing.hide(table, "graph", share, 7)
        kept.append(table.present.clone())
    text, graph = table.names.index("text"), table.names.index("graph")
    assert (kept[0] == everything).all()
    assert not kept[-1][:, graph].any()
    for more, less in pairwise(kept):
        assert (less[:, graph] <= more[:, graph]).all()
        assert less[:, graph].sum() < more[:, graph].sum()
        assert (less[:, text] == everything[:, text]).all()


def test_views_are_hidden_from_the_same_items(run):
    table = run.build().table
    table.present.fill_(True)
    for view in table.names:
        missing.hide(table, view, 0.5, 7)
    assert (table.present[:, 0] == table.present[:, 1]).all()
    assert 0 < table.present[:, 0].sum() < len(table.present)


@pytest.mark.slow
def test_missing_views_are_measured_view_by_view(run):
    losses = missing.run({"both": [run]}, (0.0, 1.0))
    assert losses.select("variant", "seed", "hidden", "share").unique(maintain_order=True).rows() == [
        ("both", 42, "text", 0.0), ("both", 42, "text", 1.0), ("both", 42, "graph", 0.0), ("both", 42, "graph", 1.0),
    ]  # fmt: skip
    assert losses["metric"].unique().sort().to_list() == ["HR@10", "NDCG@10"]
    trained = train_all([run])[0].account["validation_NDCG@10"]
    assert losses.filter(metric="NDCG@10", share=0.0)["value"].to_list() == pytest.approx([trained, trained])
    assert losses.filter(share=1.0)["value"].to_list() != losses.filter(share=0.0)["value"].to_list()


def test_no_runs_give_an_empty_frame():
    assert missing.run({}, (0.0, 1.0)).schema == missing.COLUMNS


def test_which_items_are_hidden_depends_on_the_seed(run):
    def hidden(seed):
        table = run.build().table
        missing.hide(table, "graph", 0.5, seed)
        return table.present[:, table.names.index("graph")].tolist()

    assert hidden(1) == hidden(1)
    assert hidden(1) != hidden(2)
