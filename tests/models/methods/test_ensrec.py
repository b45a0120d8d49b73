"""EnsRec: two models that have nothing to do with each other but the sum of their scores."""

import torch
from helpers import ALONE, T, V, encode, sequences_of
from llmesr.models.scoring import Scorer
from llmesr.runs.training import validation_targets
from llmesr.train.loop import Step, Task
from llmesr.train.losses import RankingLoss
from llmesr.train.negatives import NegativeSampler


def loss_of(run, model, sequences):
    """The loss of a step over all users."""
    settings = run.train_settings
    task = Task(sequences, V, T, validation_targets(run))
    torch.manual_seed(0)
    return Step(model, task, RankingLoss(settings, NegativeSampler(sequences, V)), None, ALONE)(
        torch.arange(len(sequences))
    )


def gradients(model, loss):
    named = dict(model.named_parameters())
    return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


def test_neither_model_learns_from_the_other_one(run_of, sequences):
    """Another text model leaves the gradients of the ID model as they are, bit for bit."""
    run = run_of(method="ensrec", changes={"model.dropout": 0.0})
    model = run.build()
    before = gradients(model, loss_of(run, model, sequences))
    with torch.no_grad():
        model.adapter.weight.mul_(-3)
    after = gradients(model, loss_of(run, model, sequences))
    of_ids = [name for name in before if name == "ids.weight" or name.startswith("backbone.")]
    assert len(of_ids) > 5
    assert all(torch.equal(before[name], after[name]) for name in of_ids)
    assert not torch.equal(before["adapter.weight"], after["adapter.weight"])


def test_the_score_is_the_sum_of_both_models(build):
    model = build(method="ensrec").eval()
    history = sequences_of([1, 2, 3])
    states, table = encode(model, history), model.item_vectors(torch.arange(V + 1))
    (ids, text), (id_table, text_table) = states.chunk(2, -1), table.chunk(2, -1)
    torch.testing.assert_close(
        Scorer.of(model, V, T)(history)[0], id_table @ ids[history.last[0]] + text_table @ text[history.last[0]]
    )
    parts = model.contributions(states[history.last[0]], model.views(torch.arange(V + 1)), history)
    torch.testing.assert_close(parts["text"], text_table @ text[history.last[0]])


def test_both_backbones_start_differently(build):
    model = build(method="ensrec")
    one, other = (dict(backbone.named_parameters()) for backbone in (model.backbone, model.text_backbone))
    assert not torch.equal(one["positions.table.weight"], torch.zeros_like(one["positions.table.weight"]))
    matrices = [name for name, value in one.items() if value.dim() == 2 and "table" not in name]
    assert matrices
    assert not any(torch.equal(one[name], other[name]) for name in matrices)
