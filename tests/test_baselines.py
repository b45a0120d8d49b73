"""Baselines: for each what makes it that method, who is trained on whom, what is frozen, what replaces what."""

import math

import pytest
import torch
import torch.nn.functional as F
from conftest import overview, ragged, states_of
from llmesr.models.backbones import BACKBONES
from llmesr.models.contract import Batch, Overview
from llmesr.models.methods import cities
from llmesr.models.methods.rlmrec import info_nce
from llmesr.models.ragged import Ragged
from llmesr.models.scoring import represent
from llmesr.train.objectives import make_batch

# --- CITIES ---


def test_windows_by_hand():
    whole = ragged([1, 2, 3, 4], [5, 6])
    found = cities.windows(whole, torch.tensor([1, 4]), window=2, mask_id=9)
    assert found.tolist() == [[0, 1, 9, 3, 4], [0, 0, 9, 6, 0]]


def test_cities_replaces_the_rows_of_tail_items_and_nothing_else(build, sequences):
    model = build(method="cities", methods__cities__head_above=8, methods__cities__epochs=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.finish(overview(model, sequences))
    counts = torch.bincount(sequences.items, minlength=50)
    tail = (counts > 0) & (counts <= 8)
    moved = (model.table.weight != before["table.weight"]).any(1)
    assert 0 < tail.sum() < 48
    assert torch.equal(moved, tail)
    for name, value in model.state_dict().items():
        if name != "table.weight":
            assert torch.equal(value, before[name]), name


def test_the_inferrer_learns_head_embeddings_from_contexts(build, sequences):
    """It comes closer to the embeddings of items it was not taught than their mean does."""
    model = build(method="cities", methods__cities__head_above=8)
    table = torch.zeros(50, 32)
    table[1:49] = torch.arange(48.0)[:, None].remainder(2) * 2 - 1  # two kinds of items
    pairs = [[1, 3, 5, 7, 9, 11], [2, 4, 6, 8, 10, 12]] * 20  # kinds that occur with their own
    whole = ragged(*pairs)
    settings = model.finish.args[0].model_copy(
        update={"head_above": 1, "epochs": 60, "learning_rate": 0.01, "warm_up": 1, "validation_share": 0.2}
    )
    found = whole.occurrences(48)
    contexts = lambda centres: cities.windows(whole, centres, settings.window, 49)  # noqa: E731
    inferrer = cities._learn(settings, table, found, torch.arange(1, 11), contexts)
    unknown = torch.tensor([11, 12])
    with torch.no_grad():
        inferred = inferrer(contexts(found.items[found.offsets[unknown]][:, None]))
    assert F.mse_loss(inferred, table[unknown]) < 0.5 * F.mse_loss(table[1:11].mean(0).expand(2, -1), table[unknown])


def as_in_pytorch(layer, hidden, heads):
    """PyTorch's layer of an encoder, with the weights of ours."""
    theirs = torch.nn.TransformerEncoderLayer(hidden, heads, 2 * hidden, batch_first=True).eval()
    attention = layer.attention
    state = {"self_attn.in_proj_weight": torch.cat([attention.query.weight, attention.key_value.weight])}
    state["self_attn.in_proj_bias"] = torch.cat([attention.query.bias, attention.key_value.bias])
    names = {"self_attn.out_proj": attention.out, "linear1": layer.feed_forward[0], "linear2": layer.feed_forward[-1]}
    names |= {"norm1": layer.norm_attention, "norm2": layer.norm_feed_forward}
    for name, part in names.items():
        state |= {f"{name}.{key}": value for key, value in part.state_dict().items()}
    theirs.load_state_dict(state)
    return theirs


@torch.no_grad()
def test_the_inferrer_is_two_encoders_of_pytorch_over_padded_contexts(build, sequences):
    settings = build(method="cities").finish.args[0]
    torch.manual_seed(0)
    inferrer = cities.Inferrer(torch.randn(50, 32), settings).eval()
    torch.nn.init.normal_(inferrer.position)
    contexts = cities.windows(sequences, torch.arange(60).view(12, 5), settings.window, 49)
    padding = (contexts == 0).flatten(0, 1)
    x = (F.embedding(contexts, inferrer.table) * inferrer.position[:, None]).flatten(0, 1)
    for layer in inferrer.of_items:
        x = as_in_pytorch(layer, 32, settings.heads)(x, src_key_padding_mask=padding)
    x = torch.stack([rows[~hole].mean(0) for rows, hole in zip(x, padding, strict=True)]).view(12, 5, -1)
    for layer in inferrer.of_contexts:
        x = as_in_pytorch(layer, 32, settings.heads)(x)
    torch.testing.assert_close(inferrer(contexts), inferrer.out(x.mean(1)), atol=1e-5, rtol=1e-4)


def test_cities_is_the_plain_backbone_until_it_is_finished(build):
    plain, model = build(method="none"), build(method="cities")
    for name, value in plain.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


# --- MELT ---


@pytest.fixture
def melt(build, sequences):
    model = build(method="melt")
    model.start_epoch(overview(model, sequences))
    return model


def test_melt_finds_head_and_tail_in_training_counts(melt, sequences):
    counts = torch.bincount(sequences.items, minlength=49)[1:].double()
    assert melt.item_threshold == int(counts.quantile(0.8))
    assert melt.user_threshold == int(sequences.lengths.double().quantile(0.8))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_tail_rows_are_the_map_of_their_mean_context(build, sequences, backbone):
    model = build(backbone, "melt")
    before = model.table.weight.detach().clone()
    plain = build(backbone, "none")
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if name in plain.state_dict()})
    model.start_epoch(overview(model, sequences))
    counts = torch.bincount(sequences.items, minlength=50)
    tail = (counts > 0) & (counts <= model.item_threshold)
    assert torch.equal(model.table.weight[~tail], before[~tail])
    item = int(tail.nonzero()[0])
    prefixes = sequences.prefixes((sequences.items == item).nonzero().squeeze(1), 20)
    assert (prefixes.items[prefixes.last] == item).all()
    f = represent(plain, prefixes, torch.arange(len(prefixes.lengths)), 48, 20)
    torch.testing.assert_close(model.table.weight[item], model.item_map(f.mean(0)), atol=1e-5, rtol=1e-4)


def test_what_is_not_read_does_not_make_a_head_user(build, sequences):
    """Only the latest `max_length` items count; if nobody has more than the threshold of them, nobody is enhanced."""
    model = build(method="melt", model__max_length=4)
    assert (sequences.lengths >= 4).double().mean() > 0.3  # the 80 % quantile of what is read is 4, the most there is
    model.start_epoch(overview(model, sequences))
    assert model.user_threshold == 0
    f = represent(model, sequences, torch.arange(5), 48, 4)
    plain = build(method="none", model__max_length=4)
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if name in plain.state_dict()})
    torch.testing.assert_close(f, represent(plain, sequences, torch.arange(5), 48, 4))


def test_items_of_one_popularity_have_no_head_to_learn_from(build):
    model = build(method="melt")
    whole = ragged(list(range(1, 49)), list(range(1, 49)))
    model.start_epoch(overview(model, whole))
    assert model._item_loss(2) == 0


@pytest.mark.parametrize("backbone", BACKBONES)
def test_only_tail_users_are_enhanced_and_only_at_inference(build, sequences, backbone):
    model = build(backbone, "melt")
    model.start_epoch(overview(model, sequences))
    threshold = int(model.user_threshold)
    few, many = sequences.lengths.argmin(), sequences.lengths.argmax()
    assert sequences.lengths[few] <= threshold < sequences.lengths[many]
    users = torch.stack([few, many])
    given = represent(model, sequences, users, 48, 20)
    model.user_threshold.zero_()
    f = represent(model, sequences, users, 48, 20)
    torch.testing.assert_close(given[0], f[0] + model.user_map(f[0]))
    torch.testing.assert_close(given[1], f[1])


def test_curriculum_by_hand(melt):
    melt._epoch = 10
    found = melt._curriculum(torch.tensor([0.0, math.pi / 4]))
    assert found.flatten().tolist() == pytest.approx([math.sin(math.pi / 8), math.sin(3 * math.pi / 8)])


def test_branches_learn_from_the_head_only(melt, sequences):
    """Without head users the user branch has no loss; the maps learn, and so does the shared backbone."""
    melt.eval()  # no dropout
    batch = make_batch(melt.backbone, sequences, torch.arange(len(sequences.lengths)), 48, 20)
    tail = sequences.lengths <= melt.user_threshold
    only_tail = make_batch(melt.backbone, sequences, tail.nonzero().squeeze(1), 48, 20)
    assert melt._user_loss(only_tail, torch.zeros(len(only_tail.inputs.items), 32)) == 0
    melt._epoch = 20
    states = melt._plain(batch.inputs, melt.table(batch.inputs.items))
    melt.extra_loss(batch, states).backward()
    for part in (melt.user_map, melt.item_map, melt.backbone.blocks.norm):
        assert part.weight.grad.abs().sum() > 0


def test_the_item_branch_asks_for_contexts_of_head_items_alone(melt, monkeypatch):
    asked, real = [], Ragged.take

    def spy(self, rows, latest):
        if self is melt._contexts:
            asked.append(rows)
        return real(self, rows, latest)

    monkeypatch.setattr(Ragged, "take", spy)
    melt._item_loss(users=90)
    (items,) = asked
    assert len(items) > 0
    assert (melt._contexts.lengths[items] > melt.item_threshold).all()


# --- RLMRec ---


def test_info_nce_by_hand():
    x = torch.tensor([[2.0, 0.0]])
    y = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    expected = -math.log(math.exp(2) / (math.exp(2) + 1))
    assert info_nce(x, y, torch.tensor([0]), 0.5).item() == pytest.approx(expected)


@pytest.mark.parametrize("method", ["rlmrec_con", "rlmrec_gen"])
def test_rlmrec_recommends_as_its_plain_backbone_does(build, sequences, method):
    """The LLM has a part in training alone, its table is frozen and not saved."""
    model, plain = build(method=method), build(method="none")
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if name in plain.state_dict()})
    users = torch.tensor([0, 1])
    torch.testing.assert_close(represent(model, sequences, users, 48, 20), represent(plain, sequences, users, 48, 20))
    assert not model.of_items.requires_grad
    assert "of_items" not in model.state_dict()


def test_contrastive_pulls_items_and_users_to_what_the_llm_says(build, sequences):
    model = build(method="rlmrec_con", methods__rlmrec_con__weight=2.0).eval()
    batch = make_batch(model.backbone, sequences, torch.tensor([0, 3, 5]), 48, 20)
    states = states_of(model, batch.inputs)
    items = batch.targets[batch.targets > 0].unique()
    torch.manual_seed(1)
    loss = model.extra_loss(batch, states)
    of_items = info_nce(model.table(items), model.mapper(model.of_items[items]), torch.arange(len(items)), 0.2)
    of_users = info_nce(states[batch.last], model.mapper(model.of_users[batch.users]), torch.arange(3), 0.2)
    assert loss.item() == pytest.approx(2.0 * (of_items + of_users).item(), rel=1e-5)
    loss.backward()
    assert model.table.weight.grad[items].abs().sum(1).min() > 0
    assert model.backbone.blocks.norm.weight.grad.abs().sum() > 0


def test_generative_hides_items_in_training_only(build, sequences):
    model = build("bert4rec", "rlmrec_gen", methods__rlmrec_gen__mask_share=0.5)
    query = ragged([1, 2, 3, 4, 5, 6, 7, 8, 49])  # the last is [MASK]
    states_of(model.eval(), query)
    assert model._hidden is None
    torch.manual_seed(0)
    hidden = []
    model.train()
    for _ in range(20):
        states_of(model, query)
        hidden.append(model._hidden)
    share = torch.stack(hidden).double().mean(0)
    assert share[-1] == 0
    assert 0.2 < share[:-1].mean() < 0.8
    batch = make_batch(model.backbone, sequences, torch.tensor([0, 1]), 48, 20)
    loss = model.extra_loss(batch, states_of(model, batch.inputs))
    loss.backward()
    assert model.hidden_token.grad.abs().sum() > 0


def test_generative_tells_the_item_itself_where_cloze_shows_another(build):
    model = build("bert4rec", "rlmrec_gen", methods__rlmrec_gen__mask_share=0.99)
    shown, own = ragged([1, 2, 3, 4]), torch.tensor([0, 9, 0, 0])  # item 9 is hidden behind item 2
    batch = Batch(torch.tensor([0]), shown, own, torch.tensor([False]))
    torch.manual_seed(0)
    states = states_of(model, shown)
    where = model._hidden.nonzero().squeeze(1)
    truth = torch.tensor([1, 9, 3, 4])[where]
    items, positives = truth.unique(return_inverse=True)
    expected = 0.1 * info_nce(model.mapper(states[where]), model.of_items[items], positives, 0.2)
    assert 1 in where
    assert model.extra_loss(batch, states).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_look_at_all_users_holds_no_gradient_and_no_dropout(build, sequences):
    model = build(method="none")
    look: Overview = overview(model, sequences)
    first, again = (look.encode(ragged([1, 2], [3])) for _ in range(2))
    assert torch.equal(first, again)
    assert not first.requires_grad
    assert model.training
