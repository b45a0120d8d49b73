"""Defaults are those that the docs and the papers give: a changed one changes every published row."""

import pytest
from llmesr.paths import ROOT
from llmesr.settings import load

DEFAULTS = {
    "methods.llmesr.alpha": 0.05,  # ours, from the paper's grid, by validation
    "methods.llmesr.adapter_layers": 2,
    "methods.llmesr.fusion_causal": False,
    "methods.unisrec.temperature": 0.07,
    "methods.unisrec.experts": 8,
    "methods.melt.lambda_user": 0.1,
    "methods.melt.lambda_item": 0.4,
    "methods.melt.quantile": 0.8,
    "methods.cities.head_above": 5,
    "methods.cities.window": 24,
    "methods.rlmrec_con.weight": 0.01,
    "methods.rlmrec_gen.mask_share": 0.1,
    "methods.faerec.temperature": 0.05,
    "methods.dualmatch.similar_users": 300,
    "methods.dualmatch.whitening": 0.75,
    "backbones.bert4rec.mask_share": 0.6,
    "backbones.sasrec.blocks": 2,
    "backbones.sasrec.heads": 1,
    "backbones.sasrec.causal": True,
    "retrieve.neighbours": 10,
    "retrieve.measure": "cosine",
    "prepare.negatives": 100,
    "prepare.tail_quantile": 0.8,
    "model.hidden": 64,
    "train.learning_rate": 0.001,
    "evaluate.exclude_seen": True,
}


@pytest.mark.parametrize(("key", "value"), DEFAULTS.items())
def test_a_default_is_the_documented_one(key, value):
    node = load(ROOT / "params.yaml")
    for part in key.split("."):
        node = getattr(node, part)
    assert node == value
