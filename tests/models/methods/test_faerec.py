"""FAERec: a gate in every dimension, two alignments, training by the ID alone and recommending by ID and text."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from helpers import D, T, V, context_of, encode, sequences_of
from llmesr.models.dropout import Dropout
from llmesr.models.methods import faerec
from llmesr.models.methods.faerec import feature_alignment, item_alignment
from llmesr.models.scoring import Scorer
from llmesr.train.objectives import make_batch


def test_item_alignment_by_hand():
    ids, text = torch.tensor([[2.0, 0.0], [0.0, 5.0]]), torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    assert item_alignment(ids, text, 0.5).item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_feature_alignment_is_least_where_dimensions_agree_and_share_nothing():
    x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])  # uncorrelated; std² is 4/3, mean product 1
    assert feature_alignment(x, x, 0.1).item() == pytest.approx(2 * (3 / 4 - 1) ** 2, rel=1e-3)
    assert feature_alignment(x, -x, 0.1).item() == pytest.approx(2 * (3 / 4 + 1) ** 2, rel=1e-3)
    swapped = x.flip(1)  # each dimension is the other one's: 1 on the diagonal's errors, 9/16 off it
    assert feature_alignment(x, swapped, 0.1).item() == pytest.approx(2 + 0.1 * 2 * 9 / 16, rel=1e-3)


def test_a_gate_that_is_open_to_one_side_reads_that_side_alone(build):
    model, history = build(method="faerec").eval(), sequences_of([1, 2, 3])
    vectors = model.item_vectors(history.items)
    for bias, half in ((1e4, 0), (-1e4, 1)):
        with torch.no_grad():
            model.gate[-2].weight.zero_()
            model.gate[-2].bias.fill_(bias)
        placed = model.backbone.place(vectors.chunk(2, -1)[half], history)
        expected = model.backbone.encode(model.norm(placed), history)
        torch.testing.assert_close(model.states(history, vectors)[:, :D], expected)


def test_training_scores_by_ids_and_recommending_by_ids_and_text(build):
    model, history = build(method="faerec").eval(), sequences_of([1, 2, 3])
    states, table = encode(model, history), model.item_vectors(torch.arange(V + 1))
    ids, text = table.chunk(2, -1)
    torch.testing.assert_close(states @ table.T, states[:, :D] @ ids.T)
    normed = F.layer_norm(ids + text, (D,), model.norm.weight, model.norm.bias, eps=1e-12)
    torch.testing.assert_close(Scorer.of(model, V, T)(history)[0], normed @ states[history.last[0], :D])


def test_the_curriculum_moves_from_items_to_features_and_back(build, sequences):
    model = build(method="faerec", changes={"methods.faerec.least": 0.6, "methods.faerec.period": 4})
    shares = []
    for epoch in range(5):
        model.on_epoch_start(replace(context_of(model, sequences), epoch=epoch))
        shares.append(model.item_share)
    assert shares == pytest.approx([1.0, 0.8, 0.6, 0.8, 1.0])


def test_popular_and_rare_items_are_aligned_apart(build, sequences, monkeypatch):
    """The loss is that of all items, and of the features on either side of the batch's median popularity."""
    model = build(method="faerec").eval()
    model.on_epoch_start(context_of(model, sequences))
    model.item_share, seen = 0.5, []
    real = feature_alignment
    monkeypatch.setattr(faerec, "feature_alignment", lambda *parts: seen.append(parts) or real(*parts))
    batch = make_batch(model.backbone, sequences, torch.arange(len(sequences)), V, T)
    items = torch.cat([batch.inputs.items, batch.targets])
    items = items[items > 0].unique()
    counts = sequences.items.bincount(minlength=V + 1)[items]
    loss = model.extra_loss(batch, encode(model, batch.inputs))
    popular = counts >= counts.median()
    assert [len(part[0]) for part in seen] == [int(popular.sum()), int((~popular).sum())]
    assert min(len(part[0]) for part in seen) > 1
    ids, text = model.item_vectors(items).chunk(2, -1)
    features = sum(real(ids[part], text[part], 0.005) for part in (popular, ~popular))
    expected = 0.2 * (0.5 * item_alignment(ids, text, 0.05) + 0.5 * features)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


def test_ids_start_at_the_pca(build):
    model = build(method="faerec")
    plain = build(method="llminit")
    assert torch.equal(model.ids.weight, plain.table.weight)


def test_neither_padding_nor_mask_is_aligned(build, sequences, monkeypatch):
    model, aligned = build("bert4rec", "faerec").eval(), []
    model.on_epoch_start(context_of(model, sequences))
    batch = make_batch(model.backbone, sequences, torch.arange(len(sequences)), V, T)
    there = set(torch.cat([batch.inputs.items, batch.targets]).tolist())
    assert {0, V + 1} <= there
    monkeypatch.setattr(faerec, "item_alignment", lambda ids, text, _: aligned.append(len(ids)) or ids.new_zeros(()))
    model.extra_loss(batch, encode(model, batch.inputs))
    assert aligned == [len(there - {0, V + 1})]


def test_dropout_of_adapter_and_gate_is_that_of_the_code(build):
    model = build(method="faerec")
    assert [part.p for part in model.adapter if isinstance(part, Dropout)] == [0.3]
    assert [part.p for part in model.gate if isinstance(part, Dropout)] == [0.1]
