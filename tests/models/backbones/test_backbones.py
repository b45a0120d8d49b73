"""Backbones: a GRU that equals PyTorch's on each sequence, positions from the end, blocks written out."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from helpers import D, sequences_of
from llmesr.models.backbones import gru4rec


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
@pytest.mark.parametrize("layers", [1, 2])
def test_gru_equals_pytorch_on_each_sequence_and_so_do_gradients(build, steps, layers, monkeypatch):
    monkeypatch.setattr(gru4rec, "STEPS", steps)
    backbone = build("gru4rec", "base", {"backbones.gru4rec.layers": layers}).backbone
    whole = sequences_of([3, 4, 5], [7], [], [1, 2, 8, 9, 3])
    x = torch.randn(9, D, requires_grad=True)
    found = backbone.encode(x, whole)
    alone = torch.cat([backbone.gru(x[rows][None])[0][0] for rows in (slice(0, 3), slice(3, 4), slice(4, 9))])
    torch.testing.assert_close(found, alone)
    weights, leaves = torch.randn(9, D), [x, *backbone.parameters()]
    ours, theirs = (torch.autograd.grad((states * weights).sum(), leaves) for states in (found, alone))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_rectangles_of_the_gru_hold_those_that_go_on():
    (rows, real), (more, rest) = itertools.islice(gru4rec.chunks(sequences_of([1] * 3, [2] * 11, [3])), 2)
    assert rows.shape == (3, 8)
    assert rows[0].tolist() == list(range(3, 11))
    assert rows[1].tolist() == [0, 1, 2, 2, 2, 2, 2, 2]
    assert real.sum(1).tolist() == [8, 3, 1]
    assert more.tolist() == [[11, 12, 13]]
    assert rest.all()


@pytest.mark.parametrize("name", ["sasrec", "bert4rec"])
def test_positions_count_back_from_the_latest_item(build, name):
    positions = build(name, "base").eval().backbone.positions
    x = torch.randn(5, D)
    placed = positions(x, sequences_of([1, 2, 3], [4, 5]))
    expected = x * D**0.5 + positions.table.weight[[2, 1, 0, 1, 0]]
    torch.testing.assert_close(placed, expected)


@torch.no_grad()
def test_sasrec_written_out_on_one_sequence(build):
    backbone = build("sasrec", "base").eval().backbone
    x = torch.randn(4, D)
    y, future = x, torch.ones(4, 4).triu(1).bool()
    for block in backbone.transformer.blocks:
        q, attention = block.norm_attention(y), block.attention
        logits = attention.query(q) @ attention.key(y).T / D**0.5
        mixed = logits.masked_fill(future, -torch.inf).softmax(-1) @ attention.value(y)
        y = block.norm_feed_forward(q + attention.out(mixed))
        first, second = (layer for layer in block.feed_forward if isinstance(layer, torch.nn.Linear))
        y = y + second(F.relu(first(y)))
    expected = backbone.transformer.norm(y)
    torch.testing.assert_close(backbone.encode(x, sequences_of([1, 2, 3, 4])), expected, atol=1e-5, rtol=1e-4)


def test_each_backbone_has_the_objective_of_its_paper(build):
    objectives = {name: build(name, "base").backbone.objective for name in ("gru4rec", "sasrec", "bert4rec")}
    assert objectives == {"gru4rec": "every_position", "sasrec": "every_position", "bert4rec": "cloze"}
    last = build("gru4rec", "base", {"backbones.gru4rec.objective": "last_item"}).backbone
    assert last.objective == "last_item"


@pytest.mark.parametrize("name", ["sasrec", "bert4rec"])
def test_padding_is_attended_to_by_llmesr_alone_and_if_it_is_asked_for(build, name):
    def zeros_up_to(method="llmesr", changes=None):
        return [block.attention.zeros_up_to for block in build(name, method, changes).backbone.transformer.blocks]

    assert zeros_up_to() == [20, 20]
    assert zeros_up_to(changes={"methods.llmesr.attend_padding": False}) == [None, None]
    assert zeros_up_to("base") == [None, None]
