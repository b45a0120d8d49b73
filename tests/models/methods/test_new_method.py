"""A method is one file and one line: a new one is trained, validated, saved and loaded like the others."""

import importlib
import sys

import pytest
import torch
from helpers import ALONE, T, V, finished, same_weights
from llmesr.models.registry import METHODS
from llmesr.runs import store
from llmesr.runs.store import Run
from llmesr.runs.training import train
from llmesr.settings import schema
from llmesr.train.loop import Task, validate

TOY = '''
"""A toy: the backbone on item vectors of one's own, pulled to zero."""

from llmesr.models.base import Method
from llmesr.models.inputs import random_table
from llmesr.section import Section, Weight


class Toy(Method):
    """The backbone alone with a penalty."""

    name = "toy"
    title = "Toy"
    loss = "cross_entropy"

    class Settings(Section):
        """Toy's own settings."""

        pull: Weight = 0.1
        """Weight of the penalty."""

    def __init__(self, settings, inputs, backbone):
        super().__init__(settings, inputs, backbone)
        self.table = random_table(inputs.n_items, inputs.hidden)
        self.epochs = []

    def on_epoch_start(self, context):
        self.epochs.append(context.epoch)

    def extra_loss(self, batch, states):
        return self.settings.pull * self.table.weight.square().mean()
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The toy's file, and its line in the list of methods; the settings that the list then gives."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "toy_method.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.delitem(sys.modules, "toy_method", raising=False)  # another test's
    kind = importlib.import_module("toy_method").Toy
    monkeypatch.setitem(METHODS, "toy", kind)
    return kind


@pytest.fixture
def run_of_toy(toy, tiny, data, inputs):
    methods = schema._section_of(METHODS, "Methods", "One section a method.")

    def name(backbone="sasrec", seed=42, method="toy", **own):
        section = methods(**{**tiny.methods.model_dump(), "toy": {"pull": 0.1, **own}})
        return Run(tiny.model_copy(update={"methods": section}), backbone, method, seed, data, inputs)

    return name


@pytest.mark.parametrize(
    "backbone", ["gru4rec", *(pytest.param(name, marks=pytest.mark.slow) for name in ("bert4rec", "sasrec"))]
)
def test_it_is_trained_validated_saved_and_loaded(run_of_toy, data, backbone):
    run = run_of_toy(backbone)
    assert run.train_settings.loss == "cross_entropy"
    found = train(run)
    assert found.method.epochs == [0, 1, 2, 3]
    assert found.history[-1]["loss"] < found.history[0]["loss"]
    again = run.load()
    assert same_weights(found.method, again.method)
    task = Task(data.train, V, T, lambda _: data.validation)
    assert validate(again.method, task, ALONE)["NDCG@10"] == pytest.approx(again.account["validation_NDCG@10"])


def test_its_settings_and_its_code_are_its_own(run_of_toy, run_of, toy, tmp_path):
    others = {method: run_of_toy(method=method).fingerprint for method in ("base", "llmesr", "melt")}
    assert others == {method: run_of(method=method).fingerprint for method in others}  # as they were without it
    first = run_of_toy()
    assert run_of_toy(pull=0.2).fingerprint != first.fingerprint
    file = tmp_path / "modules" / "toy_method.py"
    file.write_text(TOY.replace(".mean()", ".sum()"))
    store._without_comments.cache_clear()
    assert run_of_toy().fingerprint != first.fingerprint
    assert others == {method: run_of_toy(method=method).fingerprint for method in others}


def test_the_defaults_make_it_whole(run_of_toy):
    model, items = run_of_toy().build().eval(), torch.arange(V + 1)
    assert torch.equal(model.views(items)["item"], model.item_vectors(items))
    assert model.from_text(torch.zeros(1, 24)) == {}
    assert model.scores_by_product


LINE = """
from llmesr.models.registry import METHODS
from toy_method import Toy
METHODS[Toy.name] = Toy
"""
CODE = """
from llmesr import embed, retrieve
from llmesr.prepare import dataset
from llmesr.runs.inputs import model_inputs
from llmesr.runs.pool import train_all
from llmesr.runs import store
from llmesr.runs.store import Run
from llmesr.settings import load

if __name__ == "__main__":
    settings = load(paths.ROOT / "params.yaml", {"methods.toy.pull": 0.3, "matrix.methods": ["base", "toy"]})
    data, inputs = dataset.load("tiny"), model_inputs(embed.load("tiny"), retrieve.load("tiny"))
    names = [name for name in settings.matrix.runs() if name[0] == "gru4rec"]
    found = train_all([Run(settings, *name, data, inputs) for name in names])
    print([(run.method.title, run.method.settings.model_dump()) for run in found])
"""


@pytest.mark.slow
def test_with_its_line_in_the_list_the_whole_program_knows_it(root, shell, tiny):
    """Settings, matrix and workers; what is run first in every process stands for the line."""
    (root / "modules").mkdir()
    (root / "modules" / "toy_method.py").write_text(TOY)
    (root / "modules" / "sitecustomize.py").write_text(LINE)
    printed = finished(shell(tiny.changed({"train.epochs": 1, "matrix.seeds": [1, 2]}), CODE), 400)
    assert "[('Base', {}), ('Base', {}), ('Toy', {'pull': 0.3}), ('Toy', {'pull': 0.3})]" in printed
