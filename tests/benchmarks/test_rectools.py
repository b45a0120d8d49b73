"""RecTools' side gets our split, and what it gives is judged as ours is."""

import numpy as np
import polars as pl
import torch
from llmesr.metrics import ndcg
from llmesr.models.scoring import Scorer, rank

from benchmarks.inputs import task_of
from benchmarks.rectools import Given, sizes, write_tables


def test_the_tables_hold_every_training_item_in_order_and_the_validation_items_behind_them(run_of, tmp_path):
    data = run_of(method="base").data
    write_tables(data, data.train.take(torch.arange(3)), tmp_path)
    train = pl.read_csv(tmp_path / "train.csv").sort("user", "order")
    histories = dict(train.group_by("user", maintain_order=True).agg("item").iter_rows())
    assert [histories.get(user, []) for user in range(data.n_users)] == [items.tolist() for items in data.train]
    assert pl.read_csv(tmp_path / "histories.csv")["user"].unique().to_list() == [0, 1, 2]
    held_out = pl.read_csv(tmp_path / "validation.csv")
    assert held_out["item"].to_list() == data.validation.items.tolist()
    assert held_out["order"].min() > train["order"].max()
    saved = np.load(tmp_path / "validation.npz")
    assert np.array_equal(saved["negatives"], data.validation.negatives)


def test_states_from_elsewhere_rank_as_the_model_that_made_them_block_by_block(run_of, monkeypatch):
    """The same states and items, handed over, give the same ranks, in both protocols one after the other."""
    run = run_of(method="base")
    task, asked = task_of(run), run.data.validation
    scorer = Scorer.of(run.build(), task.n_items, task.max_length)
    histories = task.sequences.take(torch.tensor(asked.users, dtype=torch.int64))
    given = Given(scorer.states(histories).numpy(), scorer.table[:-1].numpy())
    monkeypatch.setattr("llmesr.models.scoring.BLOCK_USERS", 7)
    for options in ({"negatives": asked.negatives}, {"seen": histories}):
        ranks = [rank(scores, histories, asked.items, task.n_items, **options) for scores in (scorer, given)]
        np.testing.assert_allclose(ndcg(ranks[1], 10), ndcg(ranks[0], 10), atol=1e-6)


def test_sequences_are_as_long_as_the_longest_that_is_read(run_of):
    data = run_of(method="base").data
    assert sizes(data, 5) == {"users": data.n_users, "items": data.n_items, "longest": 5}
    assert sizes(data, 10**6)["longest"] == int(data.train.lengths.max())
