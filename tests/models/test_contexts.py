"""Contexts of items: where they occur, what leads up to it, a sample of it."""

import torch
from helpers import sequences_of
from llmesr.models.contexts import occurrences, prefixes, sample


def lists(sequences):
    return [part.tolist() for part in sequences]


def test_occurrences_list_the_positions_of_each_item():
    whole = sequences_of([3, 1, 3], [1, 3])
    assert lists(occurrences(whole, 4)) == [[], [1, 3], [], [0, 2, 4], []]


def test_a_sample_is_drawn_without_replacement_and_everything_has_its_turn():
    places = occurrences(sequences_of([3, 1, 3], [1, 3]), 4)
    torch.manual_seed(0)
    seen = set()
    for _ in range(50):
        drawn = sample(places, torch.tensor([9, 1, 9, 2, 9]))
        assert drawn.lengths.tolist() == [0, 1, 0, 2, 0]
        one, *two = drawn.items.tolist()
        assert one in (1, 3)
        assert len(set(two)) == 2
        assert set(two) <= {0, 2, 4}
        seen |= {one, *two}
    assert seen == {0, 1, 2, 3, 4}


def test_prefixes_end_at_their_position_and_have_at_most_so_many_items():
    whole = sequences_of([1, 2, 3], [4], [5, 6])
    assert lists(prefixes(whole, torch.tensor([4, 2, 3]), latest=2)) == [[5], [2, 3], [4]]
