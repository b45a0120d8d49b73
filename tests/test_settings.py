"""Settings: each mistake is named with its key, its value and the way out."""

import re
from pathlib import Path

import pytest
import yaml
from llmesr.errors import InputError
from llmesr.paths import ROOT, TINY_PARAMS
from llmesr.settings import load
from llmesr.switch import switch, targets


def write(tmp_path: Path, change: object) -> Path:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    change(raw)
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(raw))
    return file


def test_both_settings_files_are_valid_and_frozen():
    for file in ("params.yaml", TINY_PARAMS):
        settings = load(file)
        with pytest.raises(ValueError, match="frozen"):
            settings.train.epochs = 1


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.batchsize", 3, r"unknown key 'train.batchsize' \(value 3\): did you mean 'train.batch_size'"),
        ("trian", {}, r"unknown key 'trian' \(value \{\}\): did you mean 'train'"),
        ("train.epochs", None, r"key 'train.epochs' has the value None"),
        ("train.learning_rate", "1e-3", r"key 'train.learning_rate' has the value '1e-3'"),
        ("backbones.sasrec.causal", "false", r"key 'backbones.sasrec.causal' has the value 'false'"),
        ("matrix.methods", ["llm-esr"], r"key 'matrix.methods.0' has the value 'llm-esr'"),
        ("matrix.seeds", [], r"key 'matrix.seeds' has the value \[\]"),
        ("embed.encoder", "nope", r"section 'embed': encoder 'nope' is not among ada-002, minilm"),
        ("embed.encoders.minilm.pool", "mean", r"unknown key 'embed.encoders.minilm.pool'"),
        ("prepare.recipes.table.departments", [], r"unknown key 'prepare.recipes.table.departments'"),
    ],
)
def test_mistakes_name_key_value_and_way_out(tmp_path, key, value, message):
    def change(raw):
        *parents, leaf = key.split(".")
        for parent in parents:
            raw = raw[parent]
        raw[leaf] = value

    with pytest.raises(InputError, match=message):
        load(write(tmp_path, change))


def test_missing_key_is_named(tmp_path):
    with pytest.raises(InputError, match=r"key 'train.epochs' is missing: add it"):
        load(write(tmp_path, lambda raw: raw["train"].pop("epochs")))


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.yaml does not exist"):
        load(tmp_path / "nowhere.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1, 2")
    with pytest.raises(InputError, match=r"no valid YAML"):
        load(broken)


def test_missing_recipe_is_an_error_only_when_it_is_needed(tmp_path):
    def without_recipe(raw):
        raw["prepare"]["recipes"].pop("movielens-100k")

    file = write(tmp_path, without_recipe)
    assert load(file).recipe.filter == "k_core"
    switch("movielens-100k", file)
    with pytest.raises(InputError, match=r"'prepare.recipes.movielens-100k' is missing"):
        _ = load(file).recipe


def test_source_follows_the_name(tmp_path):
    def renamed(name):
        return load(write(tmp_path, lambda raw: raw["data"].update(name=name))).source

    assert renamed("movielens-100k") == "movielens-100k"
    assert renamed("my-shop") == "table"


def test_switch_changes_the_name_and_keeps_every_comment(tmp_path):
    file = tmp_path / "params.yaml"
    before = re.sub(r"  name: [\w-]+", "  name: my-shop", (ROOT / "params.yaml").read_text(), count=1)
    before = re.sub(r"  source: [\w-]+", "  source: auto", before, count=1)
    file.write_text(before)
    switch("movielens-100k", file)
    after = file.read_text()
    assert load(file).source == "movielens-100k"
    assert after.count("#") == before.count("#")
    differing = [a for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b]
    assert len(differing) == 1


def test_every_run_is_a_target_once():
    runs = load().matrix.runs()
    assert sorted(targets()) == sorted(f"train@{b}-{m}-{s}" for b, m, s in runs)
