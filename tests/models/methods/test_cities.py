"""CITIES: the inferrer learns head items from their contexts, and replaces tail items alone."""

import math

import pytest
import torch
import torch.nn.functional as F
from helpers import D, context_of, same_weights, sequences_of
from llmesr.models.contexts import occurrences
from llmesr.models.methods import cities


def test_windows_by_hand():
    whole = sequences_of([1, 2, 3, 4], [5, 6])
    found = cities.windows(whole, torch.tensor([1, 4]), window=2, mask_id=9)
    assert found.tolist() == [[0, 1, 9, 3, 4], [0, 0, 9, 6, 0]]


def test_the_rows_of_tail_items_are_replaced_and_nothing_else(build, sequences):
    model = build(method="cities", changes={"methods.cities.head_above": 8, "methods.cities.epochs": 2})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.on_fit_end(context_of(model, sequences))
    counts = torch.bincount(sequences.items, minlength=50)
    tail = (counts > 0) & (counts <= 8)
    moved = (model.table.weight != before["table.weight"]).any(1)
    assert 0 < tail.sum() < 48
    assert torch.equal(moved, tail)
    for name, value in model.state_dict().items():
        if name != "table.weight":
            assert torch.equal(value, before[name]), name


def test_without_head_or_tail_items_nothing_happens(build, sequences):
    for head_above in (10_000, 1):
        model = build(method="cities", changes={"methods.cities.head_above": head_above})
        before = model.table.weight.clone()
        rare = sequences if head_above > 1 else sequences_of(list(range(1, 49)), list(range(1, 49)))
        model.on_fit_end(context_of(model, rare))
        assert torch.equal(model.table.weight, before)


def test_the_inferrer_learns_head_embeddings_from_contexts(build):
    """It comes closer to the embeddings of items it was not taught than their mean does."""
    own = {"head_above": 1, "epochs": 30, "learning_rate": 0.01, "warm_up": 1, "validation_share": 0.2}
    model = build(method="cities", changes={f"methods.cities.{name}": value for name, value in own.items()})
    table = torch.zeros(50, D)
    table[1:49] = torch.arange(48.0)[:, None].remainder(2) * 2 - 1  # two kinds of items
    whole = sequences_of(*[[1, 3, 5, 7, 9, 11], [2, 4, 6, 8, 10, 12]] * 20)  # which occur with their own kind
    found = occurrences(whole, 48)
    contexts = lambda centres: cities.windows(whole, centres, model.settings.window, 49)  # noqa: E731
    torch.manual_seed(0)
    inferrer = cities._learn(model.settings, table, found, torch.arange(1, 11), contexts)
    unknown = torch.tensor([11, 12])
    with torch.no_grad():
        inferred = inferrer(contexts(found.items[found.offsets[unknown]][:, None]))
    assert F.mse_loss(inferred, table[unknown]) < 0.5 * F.mse_loss(table[1:11].mean(0).expand(2, -1), table[unknown])


def test_the_inferrer_with_the_lowest_error_is_kept(build, sequences, monkeypatch):
    own = {"head_above": 8, "epochs": 9, "patience": 3, "warm_up": 1}
    model = build(method="cities", changes={f"methods.cities.{name}": value for name, value in own.items()})
    errors, judged, forward, mse = iter([3.0, 1.0, 2.0, 2.0, 2.0]), [], cities.Inferrer.forward, F.mse_loss

    def spy(self, contexts):
        if not self.training:
            judged.append(self.out.weight.detach().clone())
        return forward(self, contexts)

    monkeypatch.setattr(cities.Inferrer, "forward", spy)
    monkeypatch.setattr(F, "mse_loss", lambda *x: mse(*x) if torch.is_grad_enabled() else torch.tensor(next(errors)))
    contexts = lambda centres: cities.windows(sequences, centres, model.settings.window, 49)  # noqa: E731
    inferrer = cities._learn(
        model.settings, model.table.weight.detach(), occurrences(sequences, 48), torch.arange(1, 30), contexts
    )
    assert len(judged) == 5  # it waits for three epochs in vain
    assert not torch.equal(judged[1], judged[4])
    assert torch.equal(inferrer.out.weight, judged[1])


def test_a_context_without_two_neighbours_is_left_out(build, monkeypatch):
    """Item 9 never has two neighbours, and keeps its row; of item 10 the one context with two is looked at."""
    model = build(method="cities", changes={"methods.cities.epochs": 1})
    whole = sequences_of(*[[1, 2, 3, 4]] * 8, [7, 8, 1], [9], [9, 1], [10], [10, 1, 2], [10, 3], *[[2]] * 3)
    looked_at, real = set(), cities.windows

    def spy(sequences, centres, **rest):
        looked_at.update(centres.flatten().tolist())
        return real(sequences, centres, **rest)

    monkeypatch.setattr(cities, "windows", spy)
    before = model.table.weight.detach().clone()
    model.on_fit_end(context_of(model, whole))
    assert (model.table.weight != before).any(1).nonzero().flatten().tolist() == [7, 8, 10]
    assert (whole.lengths[whole.row[list(looked_at)]] > 2).all()


def test_places_are_told_apart_by_sines_and_cosines():
    waves = cities.waves(3, 4)
    expected = [
        [f(place / 10_000 ** (2 * pair / 4)) for pair in (0, 1) for f in (math.sin, math.cos)] for place in range(3)
    ]
    torch.testing.assert_close(waves, torch.tensor(expected))
    assert cities.waves(3, 5).shape == (3, 5)


def test_attention_has_a_dropout_of_its_own(build):
    settings = build(method="cities").settings
    layer = cities.Layer(D, settings)
    assert (layer.attention.dropout.p, layer.dropout.p) == (0.5, 0.2)


def as_in_pytorch(layer, hidden, heads):
    """PyTorch's layer of an encoder, with the weights of ours."""
    theirs = torch.nn.TransformerEncoderLayer(hidden, heads, 2 * hidden, batch_first=True).eval()
    projections = (layer.attention.query, layer.attention.key, layer.attention.value)
    state = {
        "self_attn.in_proj_weight": torch.cat([part.weight for part in projections]),
        "self_attn.in_proj_bias": torch.cat([part.bias for part in projections]),
    }
    names = {"self_attn.out_proj": layer.attention.out}
    names |= {"linear1": layer.feed_forward[0], "linear2": layer.feed_forward[-1]}
    names |= {"norm1": layer.norm_attention, "norm2": layer.norm_feed_forward}
    for name, part in names.items():
        state |= {f"{name}.{key}": value for key, value in part.state_dict().items()}
    theirs.load_state_dict(state)
    return theirs


@torch.no_grad()
def test_the_inferrer_is_two_encoders_of_pytorch_over_padded_contexts(build, sequences):
    settings = build(method="cities").settings
    torch.manual_seed(0)
    inferrer = cities.Inferrer(torch.randn(50, D), settings).eval()
    torch.nn.init.normal_(inferrer.position)
    contexts = cities.windows(sequences, torch.arange(60).view(12, 5), settings.window, 49)
    padding = (contexts == 0).flatten(0, 1)
    x = F.embedding(contexts, inferrer.table) * inferrer.position[:, None] * D**0.5
    x = (x + cities.waves(contexts.shape[-1], D)).flatten(0, 1)
    for layer in inferrer.of_items:
        x = as_in_pytorch(layer, D, settings.heads)(x, src_key_padding_mask=padding)
    x = torch.stack([rows[~hole].mean(0) for rows, hole in zip(x, padding, strict=True)]).view(12, 5, -1)
    for layer in inferrer.of_contexts:
        x = as_in_pytorch(layer, D, settings.heads)(x)
    torch.testing.assert_close(inferrer(contexts), inferrer.out(x.mean(1)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("backbone", ["sasrec", "bert4rec"])
def test_until_training_is_over_it_is_the_backbone_alone(build, backbone):
    assert same_weights(build(backbone, "base"), build(backbone, "cities"))


def test_a_fall_that_is_too_small_does_not_count(build, sequences, monkeypatch):
    """With a tolerance of nearly one no fall after the first counts, and training stops when patience is over."""
    changes = {"methods.cities.tolerance": 0.99, "methods.cities.patience": 3, "methods.cities.epochs": 50}
    epochs, real = [], cities.Inferrer.train

    def spy(self, mode=True):
        epochs.append(mode)
        return real(self, mode)

    monkeypatch.setattr(cities.Inferrer, "train", spy)
    model = build(method="cities", changes=changes)
    model.on_fit_end(context_of(model, sequences))
    assert sum(epochs) == 1 + 3


def test_items_that_are_set_aside_are_not_learned(build, sequences, monkeypatch):
    model = build(method="cities", changes={"methods.cities.epochs": 3})
    learned, judged, real = set(), set(), F.mse_loss

    def spy(guess, truth):
        rows = {tuple(row) for row in truth.detach().round(decimals=5).tolist()}
        (learned if guess.requires_grad else judged).update(rows)
        return real(guess, truth)

    monkeypatch.setattr(cities.F, "mse_loss", spy)
    model.on_fit_end(context_of(model, sequences))
    assert learned
    assert judged
    assert not learned & judged
