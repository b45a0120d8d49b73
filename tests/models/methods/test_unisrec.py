"""UniSRec: a gated mixture of experts over frozen text, scored by cosine."""

import torch


def test_the_text_is_frozen_and_not_saved(build):
    model = build(method="unisrec")
    assert "text" in dict(model.table.named_buffers())
    assert "table.text" not in model.state_dict()


def test_an_item_is_a_gated_mixture_and_an_id(build):
    model = build(method="unisrec").eval()
    torch.nn.init.normal_(model.table.gate.weight)
    items = torch.tensor([2, 5])
    text = model.table.text[items]
    gates = model.table.gate(text).softmax(-1)
    mixed = sum(gates[:, [k]] * expert.rotate(text - expert.shift) for k, expert in enumerate(model.table.experts))
    torch.testing.assert_close(model.table(items), mixed + model.table.ids(items))
    assert build(method="unisrec", changes={"methods.unisrec.ids": False}).table.ids is None


def test_gates_are_noisy_in_training_only(build):
    model, items = build(method="unisrec", changes={"methods.unisrec.dropout": 0.0}), torch.arange(1, 9)
    assert not torch.equal(model.table(items), model.table(items))
    model.eval()
    assert torch.equal(model.table(items), model.table(items))


def test_experts_start_small_and_the_gate_without_a_preference(build):
    model = build(method="unisrec").eval()
    assert not model.table.gate.weight.any()
    assert not model.table.noise.weight.any()
    for expert in model.table.experts:
        assert abs(expert.rotate.weight.std() - 0.02) < 0.003
    text = model.table.text[1:9]
    plain = torch.stack([expert(text) for expert in model.table.experts]).mean(0)
    torch.testing.assert_close(model.table(torch.arange(1, 9)) - model.table.ids(torch.arange(1, 9)), plain)


def test_an_expert_drops_out_texts_and_not_what_the_shift_leaves(build):
    expert = build(method="unisrec").table.experts[0].train()
    with torch.no_grad():
        expert.shift.copy_(torch.ones_like(expert.shift))
    assert expert(expert.shift.detach().expand(50, -1)).abs().max() > 0  # texts equal to the shift: nothing is left
