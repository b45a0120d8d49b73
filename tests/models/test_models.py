"""What holds for every method on every backbone: no leak between sequences or from the future, seeds, errors."""

import itertools

import pytest
import torch
from helpers import D, T, V, context_of, encode, same_weights, sequences_of
from llmesr.errors import InputError
from llmesr.models.backbones import BACKBONES
from llmesr.models.base import Batch, Method
from llmesr.models.dropout import Dropout
from llmesr.models.inputs import ItemView, item_table, random_table
from llmesr.models.registry import METHODS
from llmesr.models.scoring import Scorer
from llmesr.train.objectives import make_batch

ALL = list(itertools.product(BACKBONES, METHODS))
EVERY = pytest.mark.parametrize(("backbone", "method"), ALL)


@EVERY
def test_a_sequence_is_encoded_the_same_alone_and_in_company(build, backbone, method):
    model = build(backbone, method).eval()
    rows = [[3, 4, 5], [7], [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8], [9, 9]]
    together = encode(model, sequences_of(*rows)).split([len(row) for row in rows])
    for row, states in zip(rows, together, strict=True):
        torch.testing.assert_close(encode(model, sequences_of(row)), states, atol=1e-5, rtol=1e-4)


def future_matters(model):
    """Tell whether an earlier state changes when the last item does."""
    model.eval()
    before, after = (encode(model, sequences_of([1, 2, 3, last]))[:3] for last in (4, 9))
    return not torch.allclose(before, after, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backbone", [name for name, kind in BACKBONES.items() if kind.objective != "cloze"])
def test_no_state_sees_a_later_item(build, backbone, method):
    assert not future_matters(build(backbone, method, {"methods.llmesr.fusion_causal": True}))


def test_switches_that_let_the_future_in(build):
    assert future_matters(build(method="base", changes={"backbones.sasrec.causal": False}))
    assert future_matters(build(changes={"methods.llmesr.fusion_causal": False}))
    assert future_matters(build("gru4rec", changes={"methods.llmesr.fusion_causal": False}))
    assert future_matters(build("bert4rec", "base"))


@pytest.mark.parametrize(("backbone", "method"), [pair for pair in ALL if METHODS[pair[1]].trains])
def test_a_step_changes_nothing_frozen_and_leaves_no_parameter_out(build, sequences, backbone, method):
    """Buffers stay; whatever is trained gets a gradient from the ranking loss or the method's own."""
    model = build(backbone, method)
    model.on_epoch_start(context_of(model, sequences))
    frozen = {name: value.clone() for name, value in model.named_buffers()}
    torch.manual_seed(0)
    batch = make_batch(model.backbone, sequences, torch.arange(len(sequences)), V, T)
    states = encode(model, batch.inputs)
    loss = states.square().mean() + model.item_vectors(torch.arange(V + 2)).square().mean()
    extra = model.extra_loss(batch, states)
    (loss if extra is None else loss + extra).backward()
    torch.optim.Adam(model.parameters(), lr=0.01).step()
    for name, value in model.named_buffers():
        assert torch.equal(value, frozen[name]), name
    silent = [name for name, value in model.named_parameters() if value.grad is None]
    assert not silent
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


@EVERY
def test_named_views_sum_to_the_items_vectors_and_contributions_to_the_score(build, backbone, method):
    model = build(backbone, method).eval()
    history, items = sequences_of([1, 2, 3]), torch.arange(V + 1)
    views = model.views(items)
    torch.testing.assert_close(sum(views.values()), model.item_vectors(items))
    scorer = Scorer.of(model, V, T)
    parts = model.contributions(scorer.states(history)[0], views, history)
    torch.testing.assert_close(sum(parts.values()), scorer(history)[0], atol=1e-5, rtol=1e-4)


@EVERY
def test_what_text_alone_gives_is_the_view_of_the_item_whose_text_it_is(build, inputs, backbone, method):
    model, items = build(backbone, method).eval(), torch.tensor([3, 8])
    given, views = model.from_text(torch.from_numpy(inputs.item_embeddings[items])), model.views(items)
    assert set(given) <= set(views)
    assert bool(given) == (METHODS[method].from_text is not Method.from_text)
    for name, vectors in given.items():
        torch.testing.assert_close(vectors, views[name], atol=1e-5, rtol=1e-4)


@EVERY
def test_same_seed_same_weights_other_seed_others(build, backbone, method):
    first, again, other = (build(backbone, method, seed=seed) for seed in (1, 1, 2))
    assert same_weights(first, again)
    assert not same_weights(first, other)


def test_the_default_hooks_do_nothing(build, sequences):
    model = build(method="base").eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    context = context_of(model, sequences)
    model.on_epoch_start(context)
    model.on_fit_end(context)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.extra_loss(None, None) is None
    assert model.with_new_items(None, None, 0) is model
    assert not model.starts_at_zero("item")


# --- what models are made of ---


def test_tables_have_a_row_for_padding_and_one_for_mask(inputs):
    assert item_table([[1.0], [2.0]]).tolist() == [[0], [1], [2], [0]]
    table = random_table(5, 3).weight
    assert table.shape == (7, 3)
    assert not table[0].any()
    assert table[1:].abs().min() > 0
    for frozen, rows in ((inputs.semantic_table, inputs.item_embeddings), (inputs.pca_table, inputs.item_pca)):
        assert frozen.shape == (V + 2, rows.shape[1])
        assert not frozen[0].any()
        assert not frozen[-1].any()
        torch.testing.assert_close(frozen[:-1], torch.from_numpy(rows))
    assert (inputs.n_items, inputs.hidden) == (V, D)


def test_a_view_is_of_the_items_that_it_knows():
    view = ItemView.of(torch.tensor([3, 1]).numpy(), torch.tensor([[5.0, 6], [7, 8]]).numpy(), 3)
    assert view.vectors.tolist() == [[0, 0], [7, 8], [0, 0], [5, 6]]
    assert view.present.tolist() == [False, True, False, True]


def test_a_share_of_a_batch_by_hand():
    represents = torch.tensor([False, True, True])
    batch = Batch(torch.tensor([7, 8, 9]), sequences_of([1, 2], [3], [4, 5, 6]), torch.arange(6), represents)
    assert batch.represented.tolist() == [8, 9]
    assert batch.last.tolist() == [2, 5]
    share = batch.take(torch.tensor([0, 2]))
    assert share.users.tolist() == [7, 9]
    assert share.inputs.items.tolist() == [1, 2, 4, 5, 6]
    assert share.targets.tolist() == [0, 1, 3, 4, 5]
    assert share.represented.tolist() == [9]
    assert share.last.tolist() == [4]


def test_tables_start_where_the_method_says(build, inputs):
    pca = torch.from_numpy(inputs.item_pca)
    for table in (build(method="llminit").table, build().collaborative):
        torch.testing.assert_close(table.weight[:-1], pca)
        assert table.weight.requires_grad
    random = build(method="base").table.weight
    assert not torch.allclose(random[1:-1], pca[1:])
    assert not random[0].any()


def test_the_first_value_of_a_table_is_not_drawn_anew(build, inputs):
    assert torch.equal(build(method="llminit").table.weight, inputs.pca_table)
    assert not build(method="dualmatch").table.ids.weight.any()


# --- errors ---


def test_sizes_that_do_not_fit_are_named(build):
    sentence = r"key '{}' is 5, which does not divide 'model.hidden' \(32\)"
    keys = (
        ("llmesr", "methods.llmesr.fusion_heads"),
        ("cities", "methods.cities.heads"),
        ("multiview", "methods.multiview.heads"),
    )
    for method, key in keys:
        with pytest.raises(InputError, match=sentence.format(key)):
            build(method=method, changes={key: 5})
    build(method="base", changes={"methods.llmesr.fusion_heads": 5})  # which it has no use for
    with pytest.raises(InputError, match=r"reduced to 32 dimensions and 'model.hidden' is 16: run `dvc repro embed`"):
        build(changes={"model.hidden": 16})


@pytest.mark.parametrize("backbone", ["sasrec", "bert4rec"])
def test_heads_of_a_backbone_that_do_not_fit_are_named(build, backbone):
    with pytest.raises(InputError, match=rf"'backbones.{backbone}.heads' is 5, which does not divide 'model.hidden'"):
        build(backbone, "base", {f"backbones.{backbone}.heads": 5})


@pytest.mark.parametrize("method", ["alphafuse", "unisrec"])
def test_some_score_by_cosine_over_a_temperature(build, sequences, method):
    model = build(method=method, changes={f"methods.{method}.temperature": 0.1}).eval()
    vectors = model.item_vectors(sequences.items)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(len(vectors)))
    states = model.states(sequences, vectors)
    torch.testing.assert_close(states.norm(dim=-1), torch.full((len(states),), 10.0))


def test_the_number_of_heads_is_that_of_the_settings(build):
    one, two = (build("sasrec", "base", {"backbones.sasrec.heads": heads}).eval() for heads in (1, 2))
    two.load_state_dict(one.state_dict())
    history = sequences_of([1, 2, 3])
    assert not torch.allclose(encode(one, history), encode(two, history))


@pytest.mark.parametrize("backbone", ["sasrec", "bert4rec"])
def test_blocks_drop_out_what_the_settings_say(build, backbone):
    model = build(backbone, "base", {"model.dropout": 0.3}).train()
    assert {part.p for part in model.backbone.transformer.modules() if isinstance(part, Dropout)} == {0.3}
    history = sequences_of([1, 2, 3])
    placed = torch.randn(3, D)
    assert not torch.allclose(model.backbone.encode(placed, history), model.backbone.encode(placed, history))
