"""Settings: each mistake is named with its key, its value and the way out."""

from functools import reduce
from pathlib import Path

import pytest
import yaml
from llmesr.errors import InputError
from llmesr.models.methods import METHODS
from llmesr.paths import ROOT, TINY_PARAMS
from llmesr.settings import load
from llmesr.switch import SLOWEST_FIRST, STUDIED_ONLY, all_methods, switch, targets, variants

PRESETS = sorted(file.stem for file in (ROOT / "presets").glob("*.yaml"))


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
        (
            "embed.encoders.minilm.pool",
            "mean",
            r"unknown key 'embed.encoders.minilm.pool' .*: did you mean 'embed.encoders.minilm.pooling'",
        ),
        (
            "embed.encoders.ada-002.retry",
            3,
            r"unknown key 'embed.encoders.ada-002.retry' .*: did you mean 'embed.encoders.ada-002.retries'",
        ),
        ("embed.encoders.minilm.max_tokens", 0, r"key 'embed.encoders.minilm.max_tokens' has the value 0"),
        (
            "report.metric",
            "MRR@10",
            r"yaml: key 'report.metric' has the value 'MRR@10', which is not among HR@5, .*choose",
        ),
        ("report.metric", "NDCG@7", r"key 'report.metric' has the value 'NDCG@7', .* its cut-off to 'evaluate.top_k'"),
        ("evaluate.top_k", [5, 20], r"key 'evaluate.top_k' has the value \[5, 20\]: 10 is missing, .*add it"),
        ("evaluate.top_k", [0, 10], r"key 'evaluate.top_k.0' has the value 0"),
        ("evaluate.top_k", [10, 10], r"key 'evaluate.top_k' has the value \[10, 10\]: 10 occurs twice: keep one"),
        (
            "prepare.length_edges",
            [5, 15, 10, 20],
            r"key 'prepare.length_edges' has the value .* must be above 0 and ascend",
        ),
        (
            "prepare.length_edges",
            [5, 5, 10, 20],
            r"key 'prepare.length_edges' has the value .* must be above 0 and ascend",
        ),
        ("prepare.popularity_edges", [0, 1, 2, 3], r"key 'prepare.popularity_edges' .* must be above 0 and ascend"),
        ("prepare.seed", -1, r"key 'prepare.seed' has the value -1"),
        ("matrix.seeds", [1, -2], r"key 'matrix.seeds.1' has the value -2"),
        ("matrix.seeds", [1, 1], r"key 'matrix.seeds' has the value \[1, 1\]: 1 occurs twice: keep one"),
        ("matrix.backbones", ["sasrec"] * 2, r"key 'matrix.backbones' .*: 'sasrec' occurs twice: keep one"),
        ("matrix.methods", ["none"] * 2, r"key 'matrix.methods' .*: 'none' occurs twice: keep one"),
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
    with pytest.raises(InputError, match=r"^\S+broken.yaml is no valid YAML \(line 1: [^\n]+\): correct it$"):
        load(broken)
    broken.write_bytes("name: Gemüse".encode("latin-1"))
    with pytest.raises(InputError, match=r"broken.yaml cannot be read \([^\n]+\): name a settings file in UTF-8"):
        load(broken)
    broken.write_text("a: \0")
    with pytest.raises(InputError, match=r"^\S+broken.yaml is no valid YAML \([^\n]+\): correct it$"):
        load(broken)
    with pytest.raises(InputError, match=r"cannot be read \([^\n]+\): name a settings file in UTF-8"):
        load(tmp_path)


def test_a_key_that_occurs_twice_is_named_with_its_line(tmp_path):
    text = (ROOT / "params.yaml").read_text()
    file = tmp_path / "params.yaml"
    file.write_text(text + "  metric: HR@10\n")
    with pytest.raises(InputError, match=rf"\(line {len(text.splitlines()) + 1}: key 'metric' occurs twice\)"):
        load(file)
    file.write_text(text + "train: {}\n")
    with pytest.raises(InputError, match=r"key 'train' occurs twice"):
        load(file)


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


@pytest.fixture
def file(tmp_path):
    """A copy of params.yaml."""
    copy = tmp_path / "params.yaml"
    copy.write_text((ROOT / "params.yaml").read_text())
    return copy


@pytest.mark.parametrize("name", [*PRESETS, "my-shop"])
def test_switching_there_and_back_leaves_every_byte(tmp_path, file, name):
    before, raw = file.read_text(), yaml.safe_load(file.read_text())
    keys = yaml.safe_load((ROOT / "presets" / "yelp.yaml").read_text())
    back = {key: reduce(dict.__getitem__, key.split("."), raw) for key in keys}
    (tmp_path / "back.yaml").write_text(yaml.safe_dump(back))
    switch(name, file)
    after = file.read_text()
    assert load(file).data.name == name
    assert after.count("#") == before.count("#")
    lines = zip(before.splitlines(), after.splitlines(), strict=True)
    assert {a.split(":")[0].strip() for a, b in lines if a != b} <= {part for key in keys for part in key.split(".")}
    switch("back", file, tmp_path)
    assert file.read_text() == before


def test_presets_set_the_same_keys_and_hold(file):
    presets = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "presets").glob("*.yaml")}
    keys = {frozenset(content) for content in presets.values()}
    assert len(keys) == 1, "so that each undoes what another did"
    for name, content in presets.items():
        assert content["data.name"] == name
        switch(name, file)
        settings = load(file)
        assert settings.recipe
        for key, value in content.items():
            node = settings
            for part in key.split("."):
                node = node[part] if isinstance(node, dict) else getattr(node, part)
            assert node == (tuple(value) if isinstance(value, list) else value)


def test_the_papers_presets(file):
    paper = {"yelp": ("yelp", 12, 13), "fashion": ("amazon-2018", 3, 4), "beauty": ("amazon-2014", 9, 4)}
    for name, expected in paper.items():
        switch(name, file)
        settings = load(file)
        assert (settings.source, settings.prepare.tail_user_below, settings.prepare.tail_item_below) == expected
        assert settings.model.max_length == 200


def test_without_a_preset_only_name_and_source_change(file):
    switch("fashion", file)
    switch("my-shop", file)
    settings = load(file)
    assert (settings.data.name, settings.data.source, settings.source) == ("my-shop", "auto", "table")
    assert settings.prepare.tail_user_below == 3


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        (
            "model.max_lenght: 9",
            r"mine.yaml: unknown key 'model.max_lenght' \(value 9\): did you mean 'model.max_l",
        ),
        (
            "embed.encoder.name: x",
            r"mine.yaml: unknown key 'embed.encoder.name' \(value 'x'\): did you mean 'embed",
        ),
        ("model.max_length: long", r"mine.yaml: key 'model.max_length' has the value 'long'"),
        ("model: [1, 2", r"mine.yaml is no valid YAML"),
        ("yelp", r"mine.yaml holds no keys"),
    ],
)
def test_mistakes_in_a_preset_change_nothing(tmp_path, file, preset, message):
    before = file.read_text()
    (tmp_path / "mine.yaml").write_text(preset)
    with pytest.raises(InputError, match=message):
        switch("mine", file, tmp_path)
    assert file.read_text() == before
    assert not list(tmp_path.glob(".params*"))


def test_switch_names_what_is_wrong(tmp_path, file):
    with pytest.raises(InputError, match=r"params.yaml: key 'data.name' has the value '../x'"):
        switch("../x", file)
    with pytest.raises(InputError, match=r"nowhere.yaml does not exist: name a settings file"):
        switch("yelp", tmp_path / "nowhere.yaml")
    file.write_text("a: 1\n")
    with pytest.raises(InputError, match=r"params.yaml: unknown key 'data.name' .*: add it to the settings"):
        switch("my-shop", file)


def test_all_methods_change_that_line_alone(file):
    before = file.read_text().splitlines()
    all_methods(file)
    (changed,) = [b for a, b in zip(before, file.read_text().splitlines(), strict=True) if a != b]
    assert changed.startswith("  methods: [none, cities, melt, rlmrec_con, rlmrec_gen, llminit, llmesr, dualmatch] #")
    assert set(METHODS) - set(load(file).matrix.methods) == set(STUDIED_ONLY)


def test_every_run_is_a_target_once():
    runs = load().matrix.runs()
    assert sorted(targets()) == sorted(f"train@{b}-{m}-{s}" for b, m, s in runs)


def test_the_slowest_runs_come_first():
    methods, backbones = SLOWEST_FIRST
    asked = [target.removeprefix("train@").split("-") for target in targets()]
    order = [(methods.index(method), backbones.index(backbone)) for backbone, method, _ in asked]
    assert order == sorted(order)
    assert {*methods, *STUDIED_ONLY} == set(METHODS)


def test_variants_that_the_matrix_trains_are_no_targets():
    settings, asked = load(), [name.removeprefix("study/dvc.yaml:variant@") for name in variants()]
    about = settings.study.variants
    assert "dualmatch" not in asked
    assert "dualmatch" in settings.matrix.methods
    assert not about["dualmatch"].change
    assert "whitenrec" in asked  # it changes nothing either, but is in no matrix
    assert not settings.trained_by_matrix("no-match")  # DualMatch with something changed
    assert {about[name].study for name in asked} == set(settings.study.questions)
