"""Attention within each sequence equals a padded softmax written out, and so do its gradients."""

import pytest
import torch
from helpers import sequences_of
from hypothesis import given, settings
from hypothesis import strategies as st
from llmesr.models.attention import SelfAttention, attend, attention_weights, split_heads
from llmesr.models.dropout import Dropout

LENGTHS, WIDEST = [1, 5, 8, 2, 40], 40
CAUSAL = pytest.mark.parametrize("causal", [True, False])


def rectangle(x, lengths, width):
    """Fill rows (N, D) up with zeros on the left: (B, T, D)."""
    parts = [torch.cat([x.new_zeros(width - len(part), x.shape[1]), part]) for part in x.split(lengths)]
    return torch.stack(parts)


def rows_of(padded, lengths):
    """Come back from (B, T, D) to rows (N, D)."""
    return torch.cat([part[len(part) - n :] for part, n in zip(padded, lengths, strict=True)])


def padded_softmax(q, k, v, heads, causal, visible):
    """The formula on rectangles (B, T, D), head by head; `visible` (B, T) says which keys may be attended to."""
    T, d, out = q.shape[1], q.shape[2] // heads, []
    seen = visible[:, None, :].expand(-1, T, -1)
    seen = seen.tril() if causal else seen
    for h in range(heads):
        part = slice(h * d, (h + 1) * d)
        logits = q[..., part] @ k[..., part].transpose(1, 2) / d**0.5
        weights = logits.masked_fill(~seen, torch.finfo(logits.dtype).min).softmax(-1)
        out.append(weights @ v[..., part])
    return torch.cat(out, -1)


@CAUSAL
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("heads", [1, 2])
def test_attention_equals_the_padded_softmax_also_in_gradient(causal, heads, dtype):
    torch.manual_seed(0)
    whole = sequences_of(*[[1] * n for n in LENGTHS])
    inputs = [torch.randn(sum(LENGTHS), 8, dtype=dtype, requires_grad=True) for _ in range(3)]
    found = attend(*inputs, whole, heads, causal=causal)
    padded = [rectangle(x, LENGTHS, WIDEST) for x in inputs]
    visible = torch.arange(WIDEST) >= WIDEST - torch.tensor(LENGTHS)[:, None]
    expected = rows_of(padded_softmax(*padded, heads, causal, visible), LENGTHS)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    ours, theirs = (torch.autograd.grad((out * weights).sum(), inputs) for out in (found, expected))
    torch.testing.assert_close(ours, theirs)


@CAUSAL
def test_padding_that_is_attended_to_equals_zero_vectors_on_the_left_also_in_gradient(causal):
    """As in LLM-ESR's code: the sequence is filled up to T with zero vectors, which nothing masks."""
    torch.manual_seed(0)
    lengths, T, hidden = [3, 1, 20, 24], 24, 8
    attention = SelfAttention(hidden, heads=2, dropout=0.0, zeros_up_to=T).eval()
    for projection in (attention.query, attention.key, attention.value):
        torch.nn.init.normal_(projection.bias)
    x = torch.randn(sum(lengths), hidden, requires_grad=True)
    found = attention(x, x, sequences_of(*[[1] * n for n in lengths]), causal=causal)
    padded = rectangle(x, lengths, T)
    q, k, v = attention.query(padded), attention.key(padded), attention.value(padded)
    everything = torch.ones(len(lengths), T, dtype=torch.bool)
    expected = rows_of(attention.out(padded_softmax(q, k, v, 2, causal, everything)), lengths)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    weights = [x, *attention.parameters()]  # the zero vectors' key and value among them
    ours, theirs = (torch.autograd.grad(out.square().sum(), weights) for out in (found, expected))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_without_room_for_padding_it_has_no_weight():
    torch.manual_seed(0)
    whole, x = sequences_of([1] * 6, [1] * 5), torch.randn(11, 8)
    attention = SelfAttention(8, heads=2, dropout=0.0, zeros_up_to=6).eval()
    torch.nn.init.normal_(attention.value.bias)
    with_padding = attention(x, x, whole, causal=False)
    attention.zeros_up_to = None
    without = attention(x, x, whole, causal=False)
    torch.testing.assert_close(with_padding[:6], without[:6])
    assert not torch.isclose(with_padding[6:], without[6:]).all(1).any()


@CAUSAL
@pytest.mark.parametrize("zeros_up_to", [None, 20])
def test_weights_with_a_dropout_of_nearly_nothing_equal_the_fused_kernel(causal, zeros_up_to):
    torch.manual_seed(0)
    whole, x = sequences_of([1] * 3, [1], [1] * 20), torch.randn(24, 8)
    attention = SelfAttention(8, heads=2, dropout=1e-9, zeros_up_to=zeros_up_to)
    torch.testing.assert_close(attention(x, x, whole, causal=causal), attention.eval()(x, x, whole, causal=causal))


def test_dropout_drops_weights_in_training_only():
    torch.manual_seed(0)
    whole, (q, k, v) = sequences_of([1] * 9, [1]), torch.randn(3, 10, 8)
    dropout = Dropout(0.5)
    one, other = (attend(q, k, v, whole, 2, causal=False, dropout=dropout) for _ in range(2))
    assert not torch.equal(one, other)
    plain = attend(q, k, v, whole, 2, causal=False)
    torch.testing.assert_close(attend(q, k, v, whole, 2, causal=False, dropout=dropout.eval()), plain)


def test_weights_sum_to_one_and_look_back_only():
    torch.manual_seed(0)
    (group,) = sequences_of([1, 1, 1], [1, 1]).groups
    Q, K = (split_heads(group.pad(x), 2) for x in torch.randn(2, 5, 8))
    weights = attention_weights(Q, K, group.causal_mask)
    assert weights.shape == (2, 2, 3, 3)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 3))
    assert (weights.triu(1) == 0).all()
    assert (attention_weights(Q, K, group.mask)[1, :, :, 2] == 0).all()  # padding


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.booleans(), st.integers(0, 2**31))
def test_no_sequence_sees_another_and_no_position_a_later_one(lengths, causal, seed):
    generator = torch.Generator().manual_seed(seed)
    whole = sequences_of(*[[1] * n for n in lengths])
    q, k, v = torch.randn(3, sum(lengths), 8, generator=generator)
    place = int(torch.randint(sum(lengths), (), generator=generator))
    other_k, other_v = k.clone(), v.clone()
    other_k[place] += 1.0
    other_v[place] += 1.0
    before = attend(q, k, v, whole, 2, causal=causal)
    changed = (before != attend(q, other_k, other_v, whole, 2, causal=causal)).any(1)
    may = whole.row == whole.row[place]
    if causal:
        may &= whole.column >= whole.column[place]
    assert not (changed & ~may).any()
    assert changed[place]
