"""References: popularity and item-kNN, by hand and against a plain loop."""

import numpy as np
import pytest
import torch
from helpers import sequences_of
from llmesr.evaluate import rank_reference, read_test_split, references
from llmesr.models import scoring

TRAIN = sequences_of([1, 2], [1, 2], [2, 3])


def test_popularity_by_hand():
    scores = references.Popularity(TRAIN, 3)(sequences_of([1], [3, 3]))
    assert scores.tolist() == [[0, 2, 3, 1]] * 2


def test_item_knn_by_hand():
    both = 2 / (2 * 3) ** 0.5  # 1 and 2 are together twice; 1 occurs twice, 2 three times
    rare = 1 / 3**0.5  # 2 and 3
    scores = references.ItemKNN(TRAIN, 3)(sequences_of([1], [3, 3], [1, 3]))
    expected = [[0, 0, both, 0], [0, 0, rare, 0], [0, 0, both + rare, 0]]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_item_knn_keeps_the_nearest_items_only(monkeypatch):
    monkeypatch.setattr(references, "NEIGHBOURS", 1)
    scores = references.ItemKNN(TRAIN, 3)(sequences_of([2]))
    assert scores[0].nonzero().flatten().tolist() == [1]  # item 3 is the second nearest of item 2


def test_every_reference_has_a_title():
    assert set(references.TITLES) == set(references.REFERENCES)


@pytest.mark.parametrize("name", references.REFERENCES)
def test_references_are_ranked_as_a_plain_loop_does(tiny, data, name, monkeypatch):
    split = read_test_split(data, torch.device("cpu"))
    score = references.REFERENCES[name](data.train, data.n_items)
    monkeypatch.setattr(scoring, "BLOCK_USERS", data.n_users - 1)  # the last block has one user
    ranked = rank_reference(name, split, data, tiny)
    assert (ranked.backbone, ranked.method) == ("untrained", name)
    for row, (user, item) in enumerate(zip(split.targets.users, split.targets.items, strict=True)):
        known = split.inputs.take(torch.tensor([user]))
        scores = score(known)[0]
        new = set(range(1, data.n_items + 1)) - set(known.items.tolist()) - {item}
        for protocol, others in (("full", new), ("sampled", split.targets.negatives[row])):
            others = scores[list(others)]
            expected = 1 + (others > scores[item]).sum() + (others == scores[item]).sum() / 2
            assert ranked.ranks[protocol][row] == expected


def test_every_interaction_counts_for_popularity_and_99_items_for_similarity():
    again = sequences_of([1, 1, 1, 2], [2])
    assert references.Popularity(again, 2)(sequences_of([1])).tolist() == [[0, 3, 2]]
    together = sequences_of(list(range(1, 151)))  # all items with all others
    assert (references.ItemKNN(together, 150)(sequences_of([1]))[0] > 0).sum() == 99
