"""Sequences without padding, attention over them, and dropout."""

import numpy as np
import pytest
import torch
from conftest import ragged
from llmesr.models.attention import SelfAttention, attend, attention_map
from llmesr.models.dropout import Dropout
from llmesr.models.move import Move, places_of
from llmesr.models.ragged import SHORT, Ragged

# --- ragged sequences ---


def test_ragged_operations_by_hand():
    whole = ragged([1, 2, 3], [4], [5, 6])
    assert whole.row.tolist() == [0, 0, 0, 1, 2, 2]
    assert whole.column.tolist() == [0, 1, 2, 0, 0, 1]
    assert whole.from_end.tolist() == [2, 1, 0, 0, 1, 0]
    assert whole.last.tolist() == [2, 3, 5]
    assert whole.take(torch.tensor([2, 0]), latest=2).items.tolist() == [5, 6, 2, 3]
    assert whole.drop_last(least=1).items.tolist() == [1, 2, 4, 5]
    assert whole.drop_last(least=0).lengths.tolist() == [2, 0, 1]
    assert whole.drop_last(least=0).append(9).items.tolist() == [1, 2, 9, 9, 5, 9]
    assert whole.join(ragged([7, 8])).lengths.tolist() == [3, 1, 2, 2]
    assert whole.take(torch.tensor([2, 0]), latest=torch.tensor([1, 2])).items.tolist() == [6, 2, 3]
    prefixes = whole.prefixes(torch.tensor([4, 2, 3]), latest=2)
    assert (prefixes.items.tolist(), prefixes.lengths.tolist()) == ([5, 2, 3, 4], [1, 2, 1])


def test_occurrences_and_samples():
    whole = ragged([3, 1, 3], [1, 3])
    places = whole.occurrences(4)
    assert [places.take(torch.tensor([item]), 9).items.tolist() for item in range(5)] == [[], [1, 3], [], [0, 2, 4], []]
    torch.manual_seed(0)
    seen = set()
    for _ in range(50):
        drawn = places.sample(torch.tensor([9, 1, 9, 2, 9]))
        assert drawn.lengths.tolist() == [0, 1, 0, 2, 0]
        one, *two = drawn.items.tolist()
        assert one in (1, 3)
        assert len(set(two)) == 2
        assert set(two) <= {0, 2, 4}
        seen |= {one, *two}
    assert seen == {0, 1, 2, 3, 4}


def test_groups_hold_every_position_once():
    rng = np.random.default_rng(0)
    whole = ragged(*[rng.integers(1, 9, n) for n in (1, 3, SHORT, SHORT + 1, 5 * SHORT, 9 * SHORT, 2)])
    cells = torch.cat([group.index[group.real] for group in whole.groups])
    assert sorted(cells.tolist()) == list(range(len(whole.items)))
    assert [group.rows.tolist() for group in whole.groups] == [[0, 1, 2, 6], [3], [4], [5]]


# --- attention ---


def plain_attention(q, k, v, heads, causal):
    """The textbook formula on one sequence (T, D), head by head."""
    out = torch.empty_like(q)
    d = q.shape[1] // heads
    for h in range(heads):
        part = slice(h * d, (h + 1) * d)
        logits = q[:, part] @ k[:, part].T / d**0.5
        if causal:
            logits[torch.ones_like(logits).triu(1).bool()] = -torch.inf
        out[:, part] = logits.softmax(-1) @ v[:, part]
    return out


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("heads", [1, 2])
def test_attention_equals_the_textbook(causal, heads):
    torch.manual_seed(0)
    lengths = [1, 5, SHORT + 4, 2, 40]
    whole = ragged(*[np.ones(n, int) for n in lengths])
    q, k, v = inputs = torch.randn(3, len(whole.items), 2, 8, requires_grad=True).unbind()  # two views
    found = attend(q, torch.cat([k, v], -1), heads, whole, causal)
    parts = [x.split(lengths) for x in inputs]
    by_view = [
        torch.cat([plain_attention(*(part[i][:, view] for part in parts), heads, causal) for i in range(len(lengths))])
        for view in range(2)
    ]
    expected = torch.stack(by_view, 1)
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(found)
    mine, textbook = (torch.autograd.grad((out * weight).sum(), inputs) for out in (found, expected))
    torch.testing.assert_close(mine, textbook)


@pytest.mark.parametrize("causal", [True, False])
def test_padding_that_is_attended_to_equals_zero_vectors_on_the_left(causal):
    """As in LLM-ESR's code: the sequence is filled up to T with zero vectors, which nothing masks."""
    torch.manual_seed(0)
    lengths, T, hidden = (3, 1, 20, 24), 24, 8
    attention = SelfAttention(hidden, heads=2, dropout=0.0, padded_to=T).eval()
    torch.nn.init.normal_(attention.key_value.bias)
    whole, x = ragged(*[[1] * n for n in lengths]), torch.randn(sum(lengths), 2, hidden)
    found, by_hand = attention(x, x, whole, causal), []
    for part, mine in zip(x.split(lengths), found.split(lengths), strict=True):
        zeros = torch.zeros(T - len(part), 2, hidden)
        padded = torch.cat([zeros, part])
        for view in range(2):
            q = attention.query(padded[:, view])
            k, v = attention.key_value(padded[:, view]).chunk(2, -1)
            expected = attention.out(plain_attention(q, k, v, 2, causal))[len(zeros) :]
            torch.testing.assert_close(mine[:, view], expected, atol=1e-5, rtol=1e-4)
            by_hand.append(expected.square().sum())
    weights = list(attention.parameters())  # the zero vectors' key and value among them
    ours, plain = (torch.autograd.grad(loss, weights) for loss in (found.square().sum(), sum(by_hand)))
    torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-4)


def test_gradients_are_fetched_from_where_the_rows_went():
    """Rows 0 and 1 fill a place each, row 2 two of them; place 1 is padding's."""
    there, shared = torch.tensor([1, 0, 2, 0, 2]), torch.tensor([[2, 4]])
    back = places_of(there, torch.tensor([True, False, False, True, False]), 3)
    assert back.tolist()[:2] == [3, 0]
    x, gradient = torch.randn(3, 2, requires_grad=True), torch.randn(5, 2)
    gradient[1] = 0
    for moved in (Move(there, back, shared=shared)(x), x[there]):
        x.grad = None
        moved.backward(gradient)
        torch.testing.assert_close(x.grad, torch.stack([gradient[3], gradient[0], gradient[2] + gradient[4]]))
    there = torch.tensor([1, 0, 0])
    back = places_of(there, torch.tensor([True, False, True]), 2)
    y = torch.randn(3, 2, requires_grad=True)
    out = Move(back, there, blank=torch.tensor([1]))(y)
    assert torch.equal(out, y[[2, 0]])
    (out * torch.tensor([[3.0], [5.0]])).sum().backward()
    assert y.grad[:, 0].tolist() == [5, 0, 3]


@pytest.mark.parametrize("causal", [True, False])
def test_padding_with_dropout_of_nothing_equals_the_fused_kernel(causal):
    torch.manual_seed(0)
    whole, x = ragged([1] * 3, [1], [1] * 20), torch.randn(24, 8)
    attention = SelfAttention(8, heads=2, dropout=1e-9, padded_to=20)
    torch.testing.assert_close(attention(x, x, whole, causal), attention.eval()(x, x, whole, causal))


def test_attention_with_dropout_of_nothing_equals_the_fused_kernel():
    torch.manual_seed(0)
    whole = ragged([1, 1, 1], [1], [1] * 20)
    q, kv, almost_none = torch.randn(24, 8), torch.randn(24, 16), Dropout(1e-9)
    for causal in (True, False):
        torch.testing.assert_close(attend(q, kv, 2, whole, causal, almost_none), attend(q, kv, 2, whole, causal))


@pytest.mark.parametrize("padded_to", [None, 40])
@pytest.mark.parametrize("causal", [True, False])
def test_the_last_positions_alone_are_those_of_all(causal, padded_to):
    torch.manual_seed(0)
    whole, x = ragged(*[[1] * n for n in (3, 1, 20, 6, 40)]), torch.randn(70, 2, 8)
    attention = SelfAttention(8, heads=2, dropout=0.0, padded_to=padded_to)
    found = attention(x[whole.last], x, whole, causal, last_only=True)
    torch.testing.assert_close(found, attention(x, x, whole, causal)[whole.last])


def test_attention_map_rows_sum_to_one_and_look_back_only():
    torch.manual_seed(0)
    whole = ragged([1, 1, 1], [1, 1])
    weights = attention_map(*torch.randn(2, 5, 8), 2, whole, causal=True)[0]
    assert weights.shape == (2, 2, 3, 3)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 3))
    assert (weights.triu(1) == 0).all()
    assert (attention_map(*torch.randn(2, 5, 8), 2, whole, causal=False)[0][1, :, :, 2] == 0).all()  # padding


def test_dropout_drops_its_share_and_keeps_the_mean():
    torch.manual_seed(0)
    x = torch.ones(400, 333)
    for p in (0.1, 0.5):
        y = Dropout(p)(x)
        assert (y == 0).float().mean() == pytest.approx(p, abs=0.005)
        assert y.max() == pytest.approx(1 / (1 - p), rel=1e-4)
    assert (Dropout(0.5).eval()(x) == x).all()
    assert not torch.equal(Dropout(0.5)(x), Dropout(0.5)(x))


def test_mean_by_hand_and_zeros_for_an_empty_sequence():
    whole = Ragged.of([7, 8, 9], [2, 0, 1])
    found = whole.mean(torch.tensor([[1.0, 2.0], [3.0, 6.0], [5.0, 5.0]]))
    assert found.tolist() == [[2.0, 4.0], [0.0, 0.0], [5.0, 5.0]]
