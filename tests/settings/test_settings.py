"""Settings: a file names what it changes, and each mistake is named with its key, its value and the way out."""

import re

import pytest
import yaml
from helpers import ROOT
from llmesr.errors import InputError
from llmesr.models.backbones import BACKBONES
from llmesr.models.registry import METHODS
from llmesr.paths import TINY_PARAMS
from llmesr.settings import DatasetSettings, Settings, apply, known_keys, load, read_yaml
from pydantic import ValidationError


@pytest.fixture
def write(tmp_path):
    """Write a settings file."""

    def to(content):
        file = tmp_path / "params.yaml"
        file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return file

    return to


def nested(key, value):
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


# --- files ---


@pytest.mark.parametrize("file", ["params.yaml", TINY_PARAMS])
def test_the_repositorys_settings_are_valid_and_frozen(file):
    settings = load(ROOT / file)
    assert settings.folder
    with pytest.raises(ValidationError, match="frozen"):
        settings.train.epochs = 1


def test_an_empty_file_has_the_defaults(write):
    assert load(write("")) == Settings() == load(write("{}"))


def test_a_file_changes_only_what_it_names(write):
    settings = load(write("train: {epochs: 3}\nmethods: {llmesr: {alpha: 0.5}}\n"))
    assert settings == Settings().changed({"train.epochs": 3, "methods.llmesr.alpha": 0.5})
    assert settings.train.patience == Settings().train.patience


def test_what_is_dumped_is_read_again(write):
    for file in ("params.yaml", TINY_PARAMS):
        settings = load(ROOT / file)
        assert load(write(settings.model_dump(mode="json"))) == settings


def test_an_encoder_without_a_kind_runs_here():
    found = apply(Settings(), {"embed.encoders.mine": {"model": "some/model"}}, "here").embed.encoders["mine"]
    assert (found.kind, found.model) == ("transformers", "some/model")


@pytest.mark.parametrize("encoder", [3, {"kind": "remote", "model": "some/model"}])
def test_an_encoder_of_no_known_kind_is_refused(encoder):
    with pytest.raises(InputError, match=r"embed\.encoders\.mine.*kind is transformers or api"):
        apply(Settings(), {"embed.encoders.mine": encoder}, "here")


def test_one_encoder_is_changed_and_another_one_added_beside_those_there_are(write):
    encoders = {"minilm": {"max_tokens": 64}, "mine": {"kind": "transformers", "model": "some/model"}}
    found = load(write({"embed": {"encoders": encoders}})).embed.encoders
    assert set(found) == {*Settings().embed.encoders, "mine"}
    assert (found["minilm"].max_tokens, found["minilm"].model) == (64, Settings().embed.encoders["minilm"].model)
    assert (found["mine"].model, found["mine"].pooling) == ("some/model", "mean")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [1, 2", r"^\S+params.yaml is no valid YAML \(line 1: [^\n]+\): correct it$"),
        ("a: \0", r"^\S+params.yaml is no valid YAML \([^\n]+\): correct it$"),
        ("- a\n- b\n", r"params.yaml holds no sections: write 'key: value' lines"),
        ("train", r"params.yaml holds no sections: write 'key: value' lines"),
        ("train: {}\nmodel: {}\ntrain: {}\n", r"params.yaml is no valid YAML \(line 3: key 'train' occurs twice\)"),
        ("train:\n  epochs: 1\n  epochs: 2\n", r"\(line 3: key 'epochs' occurs twice\): correct it"),
    ],
)
def test_a_file_that_is_no_settings_is_named(write, content, message):
    with pytest.raises(InputError, match=message):
        load(write(content))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.yaml does not exist: name a settings file"):
        load(tmp_path / "nowhere.yaml")
    file = tmp_path / "latin.yaml"
    file.write_bytes("dataset: Gemüse".encode("latin-1"))
    for path in (file, tmp_path):
        with pytest.raises(InputError, match=r"cannot be read \([^\n]+\): name a settings file in UTF-8"):
            load(path)
    with pytest.raises(InputError, match=r"cannot be read"):
        read_yaml(file)


# --- mistakes ---

UNKNOWN = [
    ("trian", {}, "train"),
    ("train.batchsize", 3, "train.batch_size"),
    ("methods.lmesr", {}, "methods.llmesr"),
    ("methods.llmesr.alhpa", 0.1, "methods.llmesr.alpha"),
    ("methods.dualmatch.together", True, None),
    ("backbones.sasrec.casual", True, "backbones.sasrec.causal"),
    ("datasets.complete-journey.min_users", 3, "datasets.complete-journey.min_user"),
    ("datasets.my-shop.catagory", "x", "datasets.my-shop.category"),
    ("embed.encoders.minilm.pool", "mean", "embed.encoders.minilm.pooling"),
    ("embed.encoders.ada-002.retry", 3, "embed.encoders.ada-002.retries"),
    ("modalities.sources.interaction_graph.dimension", 3, "modalities.sources.interaction_graph.dimensions"),
    ("modalities.sources.image.modell", "x", "modalities.sources.image.model"),
    ("matrix.seed", [1], "matrix.seeds"),
    ("experiments.seed", [1], "experiments.seeds"),
    ("xyzzy", 1, None),
]


@pytest.mark.parametrize(("key", "value", "near"), UNKNOWN)
def test_an_unknown_key_is_named_with_the_nearest_one(write, key, value, near):
    with pytest.raises(InputError) as error:
        load(write(nested(key, value)))
    assert f"unknown key '{key}' (value {value!r})" in str(error.value)
    if near:
        assert f"did you mean '{near}'?" in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.epochs", None, r"key 'train.epochs' has the value None"),
        ("train.epochs", 0, r"key 'train.epochs' has the value 0"),
        ("train.learning_rate", "1e-3", r"key 'train.learning_rate' has the value '1e-3'"),
        ("train.workers", "many", r"key 'train.workers\S*' has the value 'many'"),
        ("train.loss", "hinge", r"key 'train.loss' has the value 'hinge'"),
        ("train", 3, r"key 'train' has the value 3"),
        ("backbones.sasrec.causal", "false", r"key 'backbones.sasrec.causal' has the value 'false'"),
        ("methods.llmesr.adapter_layers", 3, r"key 'methods.llmesr.adapter_layers' has the value 3"),
        ("datasets.complete-journey.min_user", "3", r"key 'datasets.complete-journey.min_user' has the value '3'"),
        ("datasets.my-shop.format", "excel", r"key 'datasets.my-shop.format' has the value 'excel'"),
        ("dataset", "../x", r"key 'dataset' has the value '../x'"),
        ("matrix.methods", ["llm-esr"], r"key 'matrix.methods' .*'llm-esr' is not among 'methods': base, cities"),
        ("matrix.backbones", ["sas"], r"key 'matrix.backbones' .*'sas' is not among 'backbones': gru4rec"),
        ("matrix.seeds", [], r"key 'matrix.seeds' has the value \[\]"),
        ("matrix.seeds", [1, -2], r"key 'matrix.seeds.1' has the value -2"),
        ("matrix.seeds", [1, 1], r"key 'matrix.seeds' has the value \[1, 1\]: 1 occurs twice: keep one"),
        ("matrix.methods", ["base"] * 2, r"key 'matrix.methods' .*: 'base' occurs twice: keep one"),
        ("embed.encoder", "nope", r"section 'embed': encoder 'nope' is not among minilm, smollm2, mpnet, ada-002"),
        ("embed.encoders.minilm.max_tokens", 0, r"key 'embed.encoders.minilm.max_tokens' has the value 0"),
        ("modalities.sources.image.model", 3, r"key 'modalities.sources.image.model' has the value 3"),
        ("report.metric", "MRR@10", r"key 'report.metric' has the value 'MRR@10', which is not among HR@5, .*choose"),
        ("report.metric", "NDCG@7", r"key 'report.metric' has the value 'NDCG@7', .* its cut-off to 'evaluate.top_k'"),
        ("report.protocol", "sampled100", r"key 'report.protocol' has the value 'sampled100'"),
        ("evaluate.top_k", [5, 20], r"key 'evaluate.top_k' has the value \[5, 20\]: 10 is missing, .*add it"),
        ("evaluate.top_k", [0, 10], r"key 'evaluate.top_k.0' has the value 0"),
        ("evaluate.top_k", [10, 10], r"key 'evaluate.top_k' has the value \[10, 10\]: 10 occurs twice: keep one"),
        ("prepare.length_edges", [5, 15, 10, 20], r"'prepare.length_edges' .* must be above 0 and ascend"),
        ("prepare.length_edges", [5, 5, 10, 20], r"'prepare.length_edges' .* must be above 0 and ascend"),
        ("prepare.popularity_edges", [0, 1, 2, 3], r"'prepare.popularity_edges' .* must be above 0 and ascend"),
        ("prepare.temporal_shares", [0.9, 0.8], r"'prepare.temporal_shares' .* second share must be above the first"),
        ("prepare.temporal_shares", [0.8, 0.8], r"'prepare.temporal_shares' .* second share must be above the first"),
        ("prepare.temporal_shares", [0.8, 1.0], r"key 'prepare.temporal_shares.1' has the value 1.0"),
        ("prepare.temporal_shares", [0.0, 0.9], r"key 'prepare.temporal_shares.0' has the value 0.0"),
        ("prepare.seed", -1, r"key 'prepare.seed' has the value -1"),
        ("recommend.backbone", "sas", r"key 'recommend.backbone': 'sas' is not among gru4rec, bert4rec, sasrec"),
        ("cold.methods", ["none"], r"key 'cold.methods': 'none' is not among base, cities"),
        ("diversity.candidates", 3, r"section 'diversity': 3 candidates are fewer than the 10 items of a list: raise"),
        (
            "datasets.complete-journey.modalities",
            ["smell"],
            r"key 'datasets.complete-journey.modalities': 'smell' is not among the sources words, ",
        ),
    ],
)
def test_a_value_that_is_not_allowed_is_named(write, key, value, message):
    with pytest.raises(InputError, match=message):
        load(write(nested(key, value)))


def test_all_mistakes_are_named_at_once(write):
    with pytest.raises(InputError, match=r"params.yaml: key 'model.hidden' has the value 0: .*; unknown key 'trian'"):
        load(write("trian: {}\nmodel: {hidden: 0}\n"))


# --- the dataset ---


def test_swapping_the_dataset_is_one_line(write):
    content = (ROOT / "params.yaml").read_text()
    journey = load(write(content))
    films = load(write(re.sub(r"(?m)^dataset: complete-journey\b", "dataset: movielens-100k", content)))
    assert (journey.dataset, journey.data.format, journey.data.category) == (
        "complete-journey",
        "complete-journey",
        "category",
    )
    assert (films.dataset, films.data.format, films.data.max_length) == ("movielens-100k", "movielens-100k", 50)
    assert films == load(ROOT / "params.yaml", dataset="movielens-100k")
    assert films.model_copy(update={"dataset": "complete-journey"}) == journey


def test_every_dataset_of_the_repository_is_valid():
    names = load(ROOT / "params.yaml").datasets
    assert {"complete-journey", "movielens-100k", "yelp", "fashion", "beauty"} <= set(names)
    for name in names:
        assert load(ROOT / "params.yaml", dataset=name).data is not None


def test_an_unknown_dataset_is_ones_own_tables_with_the_defaults(root):
    settings = Settings(dataset="my-shop")
    assert settings.data == DatasetSettings()
    assert settings.data.format == "table"
    assert settings.folder == root / "data" / "my-shop"
    assert settings.changed({"data.folder": "elsewhere"}).folder == root / "elsewhere"


# --- changes in memory ---


def test_dotted_keys_are_changed_in_a_copy():
    settings = Settings()
    found = settings.changed({"methods.llmesr.alpha": 0.0, "matrix.seeds": [1, 2], "train.epochs": 3})
    assert (found.methods.llmesr.alpha, found.matrix.seeds, found.train.epochs) == (0.0, (1, 2), 3)
    assert settings == Settings()
    assert settings.changed({}) == settings


def test_data_is_the_section_of_the_chosen_dataset():
    settings = load(ROOT / "params.yaml")
    found = settings.changed({"data.max_length": 7})
    assert found.data.max_length == found.datasets["complete-journey"].max_length == 7
    assert found.datasets["yelp"] == settings.datasets["yelp"]
    assert found.data.category == "category"
    own = Settings(dataset="my-shop").changed({"data.min_item": 4})
    assert own.datasets["my-shop"] == own.data == DatasetSettings(min_item=4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.epcohs": 3}, r"^here: unknown key 'train.epcohs' \(value 3\): did you mean 'train.epochs'\?$"),
        ({"trian.epochs": 3}, r"^here: unknown key 'trian' .*did you mean 'train'\?$"),
        ({"train.epochs": "3"}, r"^here: key 'train.epochs' has the value '3'"),
        ({"train.epochs.more": 3}, r"^here: unknown key 'train.epochs.more': did you mean 'train.epochs'\?$"),
        ({"data.max_lenght": 3}, r"unknown key 'datasets.complete-journey.max_lenght' .*complete-journey.max_length'"),
    ],
)
def test_a_change_that_is_none_is_named(changes, message):
    with pytest.raises(InputError, match=message):
        apply(Settings(), changes, "here")


def test_changes_are_made_when_a_file_is_loaded(write):
    found = load(write("train: {epochs: 3}\n"), {"train.epochs": 5, "data.max_length": 9}, "my-shop")
    assert (found.train.epochs, found.data.max_length, found.dataset) == (5, 9, "my-shop")
    with pytest.raises(InputError, match=r"^a change: unknown key 'model.hiden'"):
        load(write(""), {"model.hiden": 3})


# --- the schema ---


def test_every_method_and_backbone_has_its_section():
    settings = Settings()
    assert set(type(settings.methods).model_fields) == set(METHODS)
    assert set(type(settings.backbones).model_fields) == set(BACKBONES)
    for name, kind in {**METHODS, **BACKBONES}.items():
        section = getattr(settings.methods if name in METHODS else settings.backbones, name)
        assert section == kind.Settings()


def test_negatives_are_not_drawn_anew_where_later_items_are_unknown(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text("prepare: {split: temporal}\nevaluate: {redraw_negatives: true}\n")
    with pytest.raises(InputError, match=r"'evaluate.redraw_negatives' is true, but with 'prepare.split: temporal'"):
        load(file)


def test_the_matrix_is_every_combination_in_a_fixed_order():
    matrix = Settings().changed({"matrix.backbones": ["sasrec"], "matrix.seeds": [1, 2]}).matrix
    runs = matrix.runs()
    assert len(runs) == len(set(runs)) == len(matrix.methods) * 2
    assert runs[:3] == [("sasrec", "base", 1), ("sasrec", "base", 2), ("sasrec", "cities", 1)]


def test_every_key_has_a_description():
    def sections(kind):
        yield kind
        for field in kind.model_fields.values():
            if hasattr(field.annotation, "model_fields"):
                yield from sections(field.annotation)

    silent = [
        f"{kind.__name__}.{name}"
        for kind in sections(Settings)
        for name, field in kind.model_fields.items()
        if not field.description
    ]
    assert not silent
    assert "methods.llmesr.alpha" in known_keys(Settings)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("no", "YAML reads this as no text: put it in quotes"),
        ("2024", "YAML reads this as no text: put it in quotes"),
        ('"my shop"', "a dataset's name has only letters, digits"),
    ],
)
def test_a_dataset_whose_name_is_none_is_answered_by_a_sentence(tmp_path, written, problem):
    file = tmp_path / "params.yaml"
    file.write_text(f"dataset: {written}\n")
    with pytest.raises(InputError, match=problem):
        load(file)
