"""Sequences without padding: cut, drawn, joined, and turned into rectangles and back."""

import numpy as np
import pytest
import torch
from helpers import sequences_of
from hypothesis import given, settings
from hypothesis import strategies as st
from llmesr.sequences import SHORT, Sequences


def lists(sequences):
    return [part.tolist() for part in sequences]


def test_places_by_hand():
    whole = sequences_of([1, 2, 3], [4], [5, 6])
    assert whole.offsets.tolist() == [0, 3, 4, 6]
    assert whole.row.tolist() == [0, 0, 0, 1, 2, 2]
    assert whole.column.tolist() == [0, 1, 2, 0, 0, 1]
    assert whole.from_end.tolist() == [2, 1, 0, 0, 1, 0]
    assert whole.last.tolist() == [2, 3, 5]
    assert len(whole) == 3
    assert whole[2].tolist() == [5, 6]
    assert lists(whole) == [[1, 2, 3], [4], [5, 6]]


def test_of_arrays_and_of_lists_are_the_same_even_with_empty_ones():
    for made in (Sequences.of(np.array([7, 8, 9], np.int32), [2, 0, 1]), Sequences.of_lists([[7, 8], [], [9]])):
        assert lists(made) == [[7, 8], [], [9]]
        assert made.items.dtype == made.lengths.dtype == torch.int64
    assert lists(Sequences.of_lists([])) == []
    assert Sequences.of_lists([[], []]).row.tolist() == []


def test_new_sequences_by_hand():
    whole = sequences_of([1, 2, 3], [4], [5, 6])
    rows = torch.tensor([2, 0, 2])
    assert lists(whole.take(rows)) == [[5, 6], [1, 2, 3], [5, 6]]
    assert lists(whole.take(rows, 2)) == [[5, 6], [2, 3], [5, 6]]
    assert lists(whole.take(rows[:2], torch.tensor([1, 2]))) == [[6], [2, 3]]
    assert lists(whole.cut(torch.tensor([4, 0]), torch.tensor([2, 4]))) == [[5, 6], [1, 2, 3, 4]]
    assert lists(whole.drop_last(least=1)) == [[1, 2], [4], [5]]
    assert lists(whole.drop_last(least=0)) == [[1, 2], [], [5]]
    assert lists(whole.drop_last(least=0).append(9)) == [[1, 2, 9], [9], [5, 9]]
    assert lists(whole.join(sequences_of([7, 8]))) == [[1, 2, 3], [4], [5, 6], [7, 8]]
    assert lists(whole.backwards()) == [[3, 2, 1], [4], [6, 5]]


def test_mean_by_hand_and_zeros_for_an_empty_sequence():
    whole = Sequences.of([7, 8, 9], [2, 0, 1])
    found = whole.mean(torch.tensor([[1.0, 2.0], [3.0, 6.0], [5.0, 5.0]]))
    assert found.tolist() == [[2.0, 4.0], [0.0, 0.0], [5.0, 5.0]]


# --- rectangles and back ---


def test_sequences_of_similar_length_share_a_rectangle():
    lengths = (1, 3, SHORT, SHORT + 1, 5 * SHORT, 9 * SHORT, 2)
    whole = sequences_of(*[[1] * n for n in lengths])
    assert [group.rows.tolist() for group in whole.groups] == [[0, 1, 2, 6], [3], [4], [5]]
    cells = torch.cat([group.index[group.real] for group in whole.groups])
    assert sorted(cells.tolist()) == list(range(sum(lengths)))


def test_padding_stands_on_the_right_and_repeats_the_first_row():
    (group,) = sequences_of([1, 2, 3], [4]).groups
    assert group.index.tolist() == [[0, 1, 2], [3, 3, 3]]
    assert group.real.tolist() == [[True, True, True], [True, False, False]]
    inf = float("inf")
    assert group.mask[1, 0].tolist() == [[0, -inf, -inf]]
    assert group.causal_mask[0, 0].tolist() == [[0, -inf, -inf], [0, 0, -inf], [0, 0, 0]]
    assert group.causal_mask[1, 0].tolist() == [[0, -inf, -inf]] * 3


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 70), min_size=1, max_size=12).filter(any), st.integers(0, 2**31))
def test_there_and_back_gives_the_rows_and_each_gets_its_own_gradient_once(lengths, seed):
    whole = sequences_of(*[[1] * n for n in lengths])
    x = torch.randn(sum(lengths), 3, generator=torch.Generator().manual_seed(seed), requires_grad=True)
    back = whole.unpad([group.pad(x) for group in whole.groups])
    assert torch.equal(back, x)
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((back * weights).sum(), x)
    assert torch.equal(gradient, weights)
    for group in whole.groups:  # no rectangle is more than about half empty, but for the shortest
        assert group.real.shape[1] <= max(SHORT, 2 * int(group.real.sum(1).min()))


def test_groups_do_not_depend_on_the_order_of_sequences():
    lengths = [9, 1, 30, 4, 9, 2]
    x = torch.randn(sum(lengths), 2)
    whole, order = sequences_of(*[[1] * n for n in lengths]), torch.tensor([5, 0, 3, 2, 1, 4])
    parts = x.split(lengths)
    shuffled = whole.take(order)
    for group, other in zip(whole.groups, shuffled.groups, strict=True):
        mine = {tuple(part[real].flatten().tolist()) for part, real in zip(group.pad(x), group.real, strict=True)}
        y = torch.cat([parts[i] for i in order])
        theirs = {tuple(part[real].flatten().tolist()) for part, real in zip(other.pad(y), other.real, strict=True)}
        assert mine == theirs


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_they_move_to_a_device(device):
    moved = sequences_of([1, 2]).to(device)
    assert moved.items.device.type == moved.lengths.device.type == device


def test_what_is_empty_stays_empty_when_the_last_item_goes():
    whole = Sequences.of_lists([[], [1], [2, 3], [4, 5, 6]])
    assert [part.tolist() for part in whole.drop_last(1)] == [[], [1], [2], [4, 5]]
    assert [part.tolist() for part in whole.drop_last(0)] == [[], [], [2], [4, 5]]
