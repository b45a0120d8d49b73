"""LiGR blocks: both parts are gated, read a normed copy, and equal their formula."""

import torch
import torch.nn.functional as F
from helpers import D, encode, sequences_of
from llmesr.models.ligr import EXPANSION, LiGR, LiGRBlock, SwiGLU


def test_swiglu_by_hand():
    network = SwiGLU(1, dropout=0.0)
    with torch.no_grad():
        network.gate.weight.fill_(1.0)
        network.up.weight.fill_(2.0)
        network.down.weight.fill_(1.0)
    silu = 3 / (1 + torch.tensor(-3.0).exp())
    torch.testing.assert_close(network(torch.tensor([[3.0]])), (EXPANSION * silu * 6).view(1, 1))


def test_a_block_equals_its_formula():
    torch.manual_seed(0)
    block, one = LiGRBlock(D, 1, 0.5, None).eval(), sequences_of([1, 2, 3])
    x = torch.randn(3, D)
    normed = F.layer_norm(x, (D,))
    Q, K, V = (layer(normed) for layer in (block.attention.query, block.attention.key, block.attention.value))
    attended = block.attention.out((Q @ K.T / D**0.5).softmax(-1) @ V)
    middle = x + torch.sigmoid(block.gate_attention(x)) * attended
    expected = middle + torch.sigmoid(block.gate_feed_forward(middle)) * block.feed_forward(F.layer_norm(middle, (D,)))
    torch.testing.assert_close(block(x, one, causal=False), expected)


def test_shut_gates_let_the_input_through():
    stack, x = LiGR(2, D, 2, 0.5, None), torch.randn(4, D)
    with torch.no_grad():
        for block in stack.blocks:
            for gate in (block.gate_attention, block.gate_feed_forward):
                gate.weight.zero_()
                gate.bias.fill_(-1e9)
    assert torch.equal(stack(x, sequences_of([1, 2], [3, 4]), causal=True), x)


def test_sasrec_takes_them_by_a_setting_and_stays_causal(build):
    model = build(method="base", changes={"backbones.sasrec.layers": "ligr"}).eval()
    assert isinstance(model.backbone.transformer, LiGR)
    before, after = (encode(model, sequences_of([1, 2, 3, last]))[:3] for last in (4, 9))
    torch.testing.assert_close(before, after)


def test_the_feed_forward_network_is_four_times_as_wide():
    network = SwiGLU(8, 0.0)
    assert {tuple(part.weight.shape) for part in (network.gate, network.up)} == {(32, 8)}
    assert network.down.weight.shape == (8, 32)
