"""Defaults are those that the docs and the papers give: a changed one changes every published row."""

import pytest
from helpers import ROOT
from llmesr.errors import InputError
from llmesr.settings import Settings, load

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
    "model.dropout": 0.5,
    "matrix.seeds": (42, 43, 44),
    "train.learning_rate": 0.001,
    "train.patience": 20,
    "evaluate.exclude_seen": True,
}


@pytest.mark.parametrize(("key", "value"), DEFAULTS.items())
@pytest.mark.parametrize("settings", [Settings(), load(ROOT / "params.yaml")], ids=["schema", "params.yaml"])
def test_a_default_is_the_documented_one(settings, key, value):
    node = settings
    for part in key.split("."):
        node = getattr(node, part)
    assert node == value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.dropout", 1.0),
        ("model.dropout", -0.1),
        ("train.learning_rate", 0.0),
        ("methods.llmesr.alpha", -0.1),
        ("methods.dualmatch.whitening", 1.1),
        ("prepare.tail_quantile", 1.0),
        ("prepare.negatives", 0),
        ("retrieve.neighbours", 0),
    ],
)
def test_what_makes_no_sense_is_refused(key, value):
    with pytest.raises(InputError, match=key.replace(".", r"\.")):
        load(ROOT / "params.yaml", {key: value})
