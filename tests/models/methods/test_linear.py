"""Linear: matches and popularity, and nothing of a backbone."""

import torch
from helpers import T, V, context_of
from llmesr.models.scoring import Scorer


def test_the_backbone_has_no_part_in_it(build, sequences):
    scores = []
    for backbone in ("sasrec", "gru4rec", "bert4rec"):
        model = build(backbone, "linear").eval()
        model.on_fit_end(context_of(model, sequences))
        scores.append(Scorer.of(model, V, T)(sequences))
    for other in scores[1:]:
        torch.testing.assert_close(other, scores[0])


def test_it_is_dualmatchs_matcher_where_the_network_says_nothing(build, sequences):
    linear, both = (
        build(method=name, changes={f"methods.{name}.neighbours": 9}).eval() for name in ("linear", "dualmatch")
    )
    for parameter in both.table.parameters():
        parameter.data.zero_()
    for model in (linear, both):
        model.on_fit_end(context_of(model, sequences))
    both.matcher.weights.copy_(linear.matcher.weights)
    assert linear.matcher.weights[1:].all()
    torch.testing.assert_close(Scorer.of(linear, V, T)(sequences), Scorer.of(both, V, T)(sequences))
