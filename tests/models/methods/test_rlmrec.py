"""RLMRec: training aligns with what the LLM says; at inference it is the plain backbone."""

import math

import pytest
import torch
from helpers import T, V, encode, sequences_of
from llmesr.models.base import Batch
from llmesr.models.methods import rlmrec
from llmesr.models.methods.rlmrec import info_nce
from llmesr.models.scoring import Scorer
from llmesr.train.objectives import make_batch


def test_info_nce_by_hand():
    x = torch.tensor([[2.0, 0.0]])
    y = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    expected = -math.log(math.exp(2) / (math.exp(2) + 1))
    assert info_nce(x, y, torch.tensor([0]), 0.5).item() == pytest.approx(expected)


@pytest.mark.parametrize("method", ["rlmrec_con", "rlmrec_gen"])
def test_it_recommends_as_its_plain_backbone_does(build, sequences, method):
    """The LLM has a part in training alone, its table is frozen and not saved."""
    model, plain = build(method=method), build(method="base")
    weights = model.state_dict()
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()})
    users = sequences.take(torch.tensor([0, 1]))
    torch.testing.assert_close(Scorer.of(model, V, T)(users), Scorer.of(plain, V, T)(users))
    assert not model.item_embeddings.requires_grad
    assert not {"item_embeddings", "user_embeddings"} & set(weights)


def test_contrastive_pulls_items_and_users_to_what_the_llm_says(build, sequences):
    model = build(method="rlmrec_con", changes={"methods.rlmrec_con.weight": 2.0}).eval()
    batch = make_batch(model.backbone, sequences, torch.tensor([0, 3, 5]), V, T)
    states = encode(model, batch.inputs)
    items = batch.targets[batch.targets > 0].unique()
    torch.manual_seed(1)
    loss = model.extra_loss(batch, states)
    of_items = info_nce(model.table(items), model.mapper(model.item_embeddings[items]), torch.arange(len(items)), 0.2)
    of_users = info_nce(states[batch.last], model.mapper(model.user_embeddings[batch.users]), torch.arange(3), 0.2)
    assert loss.item() == pytest.approx(2.0 * (of_items + of_users).item(), rel=1e-5)
    loss.backward()
    assert model.table.weight.grad[items].abs().sum(1).min() > 0
    assert model.backbone.transformer.norm.weight.grad.abs().sum() > 0


def test_no_more_than_so_many_items_are_contrasted(build, sequences, monkeypatch):
    monkeypatch.setattr(rlmrec, "COMPARED", 5)
    real, sizes = info_nce, []
    monkeypatch.setattr(rlmrec, "info_nce", lambda x, *rest: sizes.append(len(x)) or real(x, *rest))
    model = build(method="rlmrec_con")
    batch = make_batch(model.backbone, sequences, torch.arange(7), V, T)
    model.extra_loss(batch, encode(model, batch.inputs))
    assert sizes == [5, 7]


def test_generative_hides_items_in_training_only(build, sequences):
    model = build("bert4rec", "rlmrec_gen", {"methods.rlmrec_gen.mask_share": 0.5})
    query = sequences_of([1, 2, 3, 4, 5, 6, 7, 8, V + 1])  # the last is [MASK]
    encode(model.eval(), query)
    assert model._hidden is None
    torch.manual_seed(0)
    hidden = []
    model.train()
    for _ in range(20):
        encode(model, query)
        hidden.append(model._hidden)
    share = torch.stack(hidden).double().mean(0)
    assert share[-1] == 0
    assert 0.2 < share[:-1].mean() < 0.8
    batch = make_batch(model.backbone, sequences, torch.tensor([0, 1]), V, T)
    model.extra_loss(batch, encode(model, batch.inputs)).backward()
    assert model.hidden_token.grad.abs().sum() > 0


def test_generative_tells_the_item_itself_where_cloze_shows_another(build):
    model = build("bert4rec", "rlmrec_gen", {"methods.rlmrec_gen.mask_share": 0.99})
    shown, own = sequences_of([1, 2, 3, 4]), torch.tensor([0, 9, 0, 0])  # item 9 is hidden behind item 2
    batch = Batch(torch.tensor([0]), shown, own, torch.tensor([False]))
    torch.manual_seed(0)
    states = encode(model, shown)
    where = model._hidden.nonzero().squeeze(1)
    truth = torch.tensor([1, 9, 3, 4])[where]
    items, positives = truth.unique(return_inverse=True)
    expected = 0.1 * info_nce(model.mapper(states[where]), model.item_embeddings[items], positives, 0.2)
    assert 1 in where
    assert model.extra_loss(batch, states).item() == pytest.approx(expected.item(), rel=1e-5)


def test_padding_is_not_contrasted(build, sequences, monkeypatch):
    model, contrasted = build("bert4rec", "rlmrec_con").eval(), []
    batch = make_batch(model.backbone, sequences, torch.arange(len(sequences)), V, T)
    there = set(batch.targets.tolist())
    assert 0 in there
    monkeypatch.setattr(rlmrec, "info_nce", lambda x, *_: contrasted.append(len(x)) or x.new_zeros(()))
    model.extra_loss(batch, encode(model, batch.inputs))
    assert contrasted[0] == len(there - {0})
