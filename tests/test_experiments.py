"""Studies: a variant is a method with something changed, and all else as it was."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import yaml
from llmesr import evaluate, experiments, retrieve
from llmesr.errors import InputError
from llmesr.models.inputs import ItemView
from llmesr.models.scoring import Scorer
from llmesr.paths import ROOT, TINY_PARAMS, artifact, results
from llmesr.prepare.dataset import TEXTS
from llmesr.runs import pool
from llmesr.runs.matrix import matrix_runs
from llmesr.runs.store import Run
from llmesr.settings import load
from safetensors.numpy import save_file

NO_FUSION = {"label": "w/o cross-attention", "methods.llmesr.fusion": False}
ALPHA = {"label": "α = 1", "methods.llmesr.alpha": 1.0}
BASE = {"label": "Base, as it is", "method": "base"}


@pytest.fixture
def settings(tiny, data, embeddings, neighbours):
    """Settings of short runs with two seeds; what stages 02 and 03 make lies where they put it."""
    for stage, file, arrays in (("embed", "embeddings", embeddings), ("retrieve", "neighbours", neighbours)):
        artifact("tiny", stage).mkdir(parents=True)
        tables = {name: np.ascontiguousarray(array) for name, array in vars(arrays).items()}
        save_file(tables, artifact("tiny", stage) / f"{file}.safetensors")
    fast = {"train.epochs": 1, "train.workers": 1, "experiments.seeds": [1, 2]}
    return tiny.changed({**fast, "matrix.backbones": ["sasrec"], "matrix.seeds": [1, 2]})


@pytest.fixture
def study_of(settings, data, root):
    """Write one study with some variants, and load it."""

    def write(variants, changes=None, data=data, **about):
        about = {"question": "Which part does the work?", "method": "llmesr", **about}
        (root / "studies.yaml").write_text(yaml.safe_dump({"parts": {**about, "variants": variants}}, sort_keys=False))
        return experiments.load(settings.changed(changes or {}), data, "studies.yaml")["parts"]

    return write


@pytest.fixture
def trained(monkeypatch):
    """Record the runs that are trained."""
    names, real = [], pool.train
    monkeypatch.setattr(pool, "train", lambda run: (names.append(run.name), real(run))[1])
    return names


# --- the file of the repository ---


@pytest.mark.parametrize("dataset", [*load("params.yaml").datasets, "my-own-shop"])
def test_the_studies_of_the_repository_are_valid_for_every_dataset(dataset):
    settings = load("params.yaml", dataset=dataset)
    for study in experiments.load(settings).values():
        assert study.question.endswith("?")
        assert next(iter(study.variants)) == "full"
        assert study.variants["full"].settings == settings
        labels = [variant.label for variant in study.variants.values()]
        assert len(set(labels)) == len(labels)
        runs = {(variant.method, variant.settings.model_dump_json()) for variant in study.variants.values()}
        assert len(runs) == len(labels)  # every variant changes something, and something else


def test_the_studies_of_the_repository_are_valid_for_the_lessons():
    studies = experiments.load(load(TINY_PARAMS))
    assert set(studies) == set(yaml.safe_load((ROOT / "experiments.yaml").read_text()))


# --- mistakes in the file ---


@pytest.mark.parametrize(
    ("study", "message"),
    [
        ({"variant": {}, "variants": {"x": ALPHA}}, r": unknown key 'variant': did you mean 'variants'\?$"),
        ({"question": "Why?"}, r" has no variants: write 'variants:' and a name a variant below it$"),
        ({"variants": [ALPHA]}, r" has no variants: write 'variants:'"),
        (["x"], r" has no variants: write 'variants:'"),
        ({"method": "llm-esr", "variants": {"x": ALPHA}}, r": unknown method 'llm-esr': did you mean 'llmesr'\?$"),
        ({"method": 3, "variants": {"x": ALPHA}}, r": unknown method 3: remove it$"),
        ({"method": ["base"], "variants": {"x": ALPHA}}, r": unknown method \['base'\]: did you mean 'base'\?$"),
        ({"variants": {"x": {"label": "X", 3: 4}}}, r", variant 'x': unknown key '3' \(value 4\): remove it$"),
        (
            {"variants": {"x": {**ALPHA, "method": "dualmach"}}},
            r"'x': unknown method 'dualmach': did you mean 'dualmatch'\?$",
        ),
        ({"variants": {"x": {"train.loss": "bce"}}}, r", variant 'x' has no label: write what tables call it$"),
        ({"variants": {"x": {"label": 3}}}, r"variant 'x' has no label"),
        ({"variants": {"x": None}}, r"variant 'x' has no label"),
        (
            {"variants": {"x": {"label": "X", "methods.llmesr.alfa": 1.0}}},
            r"variant 'x': unknown key 'methods.llmesr.alfa' \(value 1.0\): did you mean 'methods.llmesr.alpha'\?$",
        ),
        (
            {"variants": {"x": {"label": "X", "retreive.neighbours": 3}}},
            r"variant 'x': unknown key 'retreive' .*did you mean 'retrieve'\?$",
        ),
        (
            {"variants": {"x": {"label": "X", "train.loss.name": "bce"}}},
            r"variant 'x': unknown key 'train.loss.name': did you mean 'train.loss'\?$",
        ),
        (
            {"variants": {"x": {"label": "X", "data.max_lenght": 5}}},
            r"variant 'x': unknown key 'datasets.tiny.max_lenght' .*: did you mean 'datasets.tiny.max_length'\?$",
        ),
        (
            {"variants": {"x": {"label": "X", "retrieve.neighbours": 0}}},
            r"variant 'x': key 'retrieve.neighbours' has the value 0: Input should be greater than or equal to 1$",
        ),
        (
            {"variants": {"x": {"label": "X", "train.loss": "hinge"}}},
            r"variant 'x': key 'train.loss' has the value 'hinge': Input should be 'own', ",
        ),
        (
            {"variants": {"x": {"label": "X", "prepare.split": "temporal"}}},
            r"variant 'x': 'prepare.split' has no effect on it \(its method is 'llmesr'\): remove it$",
        ),
        ({"variants": {"x": {"label": "X", "data.min_user": 5}}}, r"variant 'x': 'data.min_user' has no effect on it"),
        (
            {"variants": {"x": {**ALPHA, "method": "base"}}},
            r"variant 'x': 'methods.llmesr.alpha' has no effect on it \(its method is 'base'\): remove it$",
        ),
    ],
)
def test_a_mistake_names_file_study_variant_and_way_out(settings, root, study, message):
    (root / "studies.yaml").write_text(yaml.safe_dump({"parts": study}))
    with pytest.raises(InputError, match=message) as error:
        experiments.load(settings, file="studies.yaml")
    assert str(error.value).startswith("studies.yaml, study 'parts'")
    assert "\n" not in str(error.value)


def test_a_file_without_studies_is_named(settings, root):
    (root / "studies.yaml").write_text("[ablation]")
    with pytest.raises(InputError, match=r"^studies.yaml holds no studies: write 'name: …' sections$"):
        experiments.load(settings, file="studies.yaml")
    (root / "studies.yaml").write_text("a: {variants: {x: {label: X}}}\na: {}\n")
    with pytest.raises(
        InputError, match=r"^studies.yaml is no valid YAML \(line 2: key 'a' occurs twice\): correct it$"
    ):
        experiments.load(settings, file="studies.yaml")
    with pytest.raises(InputError, match=r"nowhere.yaml does not exist: name a settings file$"):
        experiments.load(settings, file="nowhere.yaml")


# --- what a study is ---


def test_a_change_is_laid_over_the_settings_and_nothing_else(study_of, settings):
    study = study_of({"alpha-1": ALPHA, "shorter": {"label": "T = 5", "data.max_length": 5}})
    own = study.variants["alpha-1"].settings
    assert own.methods.llmesr.alpha == 1.0
    assert own.methods.llmesr.model_copy(update={"alpha": settings.methods.llmesr.alpha}) == settings.methods.llmesr
    assert own.model_copy(update={"methods": settings.methods}) == settings
    assert study.variants["shorter"].settings.data.max_length == 5
    assert study.variants["shorter"].settings.data.folder == settings.data.folder


def test_labels_are_those_of_the_file_after_that_of_the_method(study_of):
    study = study_of({"alpha-1": ALPHA, "base": BASE})
    assert list(study.labels().items()) == [("full", "LLM-ESR"), ("alpha-1", "α = 1"), ("base", "Base, as it is")]
    assert study.labels("base") == {"base": "Base, as it is"}
    assert study_of({"one": {"label": "w/o text", "methods.dualmatch.text": False}}, method="dualmatch").labels() == {
        "full": "DualMatch",
        "one": "w/o text",
    }


def test_values_are_those_of_the_variants_that_change_a_key(study_of, settings):
    few = {"label": "N = 2", "retrieve.neighbours": 2}
    study = study_of({"alpha-1": ALPHA, "no-fusion": NO_FUSION, "n-2": few})
    assert study.values("methods.llmesr.alpha") == {"full": settings.methods.llmesr.alpha, "alpha-1": 1.0}
    assert study.values("retrieve.neighbours") == {"full": 5, "n-2": 2}
    assert study.values("embed.history_items") == {"full": settings.embed.history_items}


def test_a_study_may_be_read_without_a_dataset(study_of):
    study = study_of({"adversary": {"label": "X", "train.adversary": "sensitive_attribute"}}, NO_ATTRIBUTE, data=None)
    assert study.available == study.variants
    assert study.unavailable == ""


# --- one run is one run ---


@pytest.mark.slow
def test_a_variant_that_changes_nothing_is_the_run_of_the_matrix(study_of, settings, data, inputs, trained):
    matrix = matrix_runs(settings, data, inputs, methods=["base", "llmesr"])
    main = evaluate.run(settings, data, matrix).metrics
    assert sorted(trained) == ["sasrec-base-1", "sasrec-base-2", "sasrec-llmesr-1", "sasrec-llmesr-2"]
    study = study_of(
        {"same": {"label": "the same", "methods.llmesr.alpha": settings.methods.llmesr.alpha}, "base": BASE}
    )
    planned = experiments.runs(study, data)
    prints = {run.name: run.fingerprint for run in matrix}
    for name, method in (("full", "llmesr"), ("same", "llmesr"), ("base", "base")):
        assert [run.fingerprint for run in planned[name]] == [prints[f"sasrec-{method}-{seed}"] for seed in (1, 2)]
    found = experiments.run(study, data).metrics
    assert len(trained) == 4  # nothing more
    for name, method in (("full", "llmesr"), ("same", "llmesr"), ("base", "base")):
        own = found.filter(method=name).drop("method")
        assert own.equals(main.filter(method=method).drop("method"))


@pytest.mark.slow
def test_adding_a_variant_trains_only_that_one(study_of, data, trained):
    first = experiments.run(study_of({"no-fusion": NO_FUSION}), data)
    assert trained == ["sasrec-llmesr-1", "sasrec-llmesr-2"] * 2
    trained.clear()
    second = experiments.run(study_of({"alpha-1": ALPHA, "no-fusion": NO_FUSION}), data)
    assert trained == ["sasrec-llmesr-1", "sasrec-llmesr-2"]
    assert second.metrics.filter(pl.col("method") != "alpha-1").equals(first.metrics)
    values = [second.metrics.filter(method=name)["value"].to_list() for name in ("full", "alpha-1", "no-fusion")]
    assert values[0] != values[1] != values[2] != values[0]


@pytest.mark.slow
def test_published_metrics_have_the_columns_of_the_main_ones(study_of, data, settings):
    found = experiments.run(study_of({"no-fusion": NO_FUSION, "base": BASE}), data)
    metrics = pl.read_csv(results("tiny", "parts") / "metrics.csv")
    assert metrics.columns == ["dataset", "backbone", "method", "seed", "protocol", "group", "metric", "value"]
    assert metrics["method"].unique(maintain_order=True).to_list() == ["full", "no-fusion", "base"]
    assert metrics.select("dataset", "backbone").unique().rows() == [("tiny", "sasrec")]
    assert metrics["seed"].unique().sort().to_list() == [1, 2]
    counts = found.ranks.group_by("method", "seed", "protocol").len()
    assert counts["len"].unique().to_list() == [data.n_users]
    assert counts.height == 3 * 2 * 2


def test_a_study_has_its_own_backbone(study_of, data):
    study = study_of(
        {"last": {"label": "last item", "backbones.gru4rec.objective": "last_item"}},
        {"experiments.backbone": "gru4rec", "experiments.seeds": [1]},
    )
    assert [run.name for runs in experiments.runs(study, data).values() for run in runs] == ["gru4rec-llmesr-1"] * 2


def test_a_stage_that_has_not_run_is_named(study_of, data):
    (artifact("tiny", "retrieve") / "neighbours.safetensors").unlink()
    with pytest.raises(InputError, match=r"neighbours.safetensors is missing: run `dvc repro retrieve` first"):
        experiments.run(study_of({"no-fusion": NO_FUSION}), data)


# --- what a dataset cannot have ---

NO_ATTRIBUTE = {"data.sensitive_attribute": None}
ADVERSARY = {"label": "adversary on users", "train.adversary": "sensitive_attribute"}
SOUNDS = {"label": "Text and sounds", "method": "multiview", "methods.multiview.views": ["text", "audio", "knowledge"]}
WORDS = {"label": "with users' words", "ugc.item_template": "{words}"}
TUNED = {"label": "encoder tuned", "embed.lora.epochs": 1}
LARGE = {"label": "MPNet", "embed.encoder": "mpnet"}
OF_GRU = {"label": "last item", "backbones.gru4rec.objective": "last_item"}


@pytest.mark.parametrize(
    ("variant", "sentence"),
    [
        (ADVERSARY, "Not shown: adversary on users, since 'datasets.tiny' names no sensitive attribute."),
        (SOUNDS, "Not shown: Text and sounds, since 'datasets.tiny.modalities' does not name audio."),
        (WORDS, "Not shown: with users' words, since nobody wrote about training items."),
        (TUNED, "Not shown: encoder tuned, since nobody wrote about training items."),
        (
            LARGE,
            "Not shown: MPNet, since data/models/all-mpnet-base-v2 is not there "
            "(`python -m llmesr.tools.fetch mpnet` fetches it).",
        ),
        (OF_GRU, "Not shown: last item, since it is of GRU4Rec, and 'experiments.backbone' is 'sasrec'."),
    ],
)
def test_what_a_dataset_cannot_have_is_left_out_with_a_sentence(study_of, data, variant, sentence):
    silent = replace(data, texts=pl.DataFrame(schema=TEXTS))
    lacking = {**NO_ATTRIBUTE, "data.modalities": ["knowledge"]}
    study = study_of({"alpha-1": ALPHA, "impossible": variant}, lacking, data=silent)
    assert list(study.available) == ["full", "alpha-1"]
    assert study.unavailable == sentence
    assert "impossible" not in study.labels()
    assert list(experiments.runs(study, silent)) == ["full", "alpha-1"]


@pytest.mark.parametrize("variant", [ADVERSARY, SOUNDS, WORDS, TUNED])
def test_what_a_dataset_has_is_not_left_out(study_of, variant):
    study = study_of({"possible": variant})
    assert list(study.available) == ["full", "possible"]
    assert study.unavailable == ""


def test_one_sentence_names_all_variants_with_the_same_reason(study_of):
    other = {**ADVERSARY, "label": "Base, adversary on users", "method": "base"}
    study = study_of({"one": ADVERSARY, "two": other, "three": SOUNDS}, {**NO_ATTRIBUTE, "data.modalities": []})
    assert study.unavailable == (
        "Not shown: adversary on users; Base, adversary on users, since 'datasets.tiny' names no sensitive attribute. "
        "Not shown: Text and sounds, since 'datasets.tiny.modalities' does not name audio, knowledge."
    )


def test_the_rest_of_a_study_runs(study_of, data):
    study = study_of({"impossible": ADVERSARY, "alpha-1": ALPHA}, {**NO_ATTRIBUTE, "experiments.seeds": [1]})
    metrics = experiments.run(study, data).metrics
    assert metrics["method"].unique(maintain_order=True).to_list() == ["full", "alpha-1"]


# --- embeddings, similar users and views of a variant ---


@pytest.fixture
def encode(embeddings):
    """Stand in for the encoder: record what is asked of it."""

    def make(settings, data):
        make.asked.append(settings.embed.item_template)
        return replace(embeddings, users=np.ascontiguousarray(embeddings.users[::-1]))

    make.asked = []
    return make


def test_only_a_variant_of_the_prompt_encodes_anew(study_of, data, encode, neighbours):
    titles = {"label": "titles", "embed.item_template": "{title}"}
    planned = experiments.runs(study_of({"alpha-1": ALPHA, "titles": titles}), data, make_embeddings=encode)
    assert encode.asked == ["{title}"]  # once, for both seeds
    full, alpha, titles = (planned[name][0].inputs for name in ("full", "alpha-1", "titles"))
    assert alpha is full
    assert (titles.user_embeddings == full.user_embeddings[::-1]).all()
    assert (full.neighbours == neighbours.users).all()
    assert (titles.neighbours == data.n_users - 1 - neighbours.users[::-1]).all()  # found anew as well


@pytest.mark.parametrize("change", [{"model.hidden": 16}, {"ugc.item_template": "{words}"}, {"embed.normalize": False}])
def test_whatever_changes_embeddings_encodes_anew(study_of, data, encode, change):
    experiments.runs(study_of({"other": {"label": "other", **change}}), data, make_embeddings=encode)
    assert len(encode.asked) == 1


def test_a_variant_of_the_similar_users_keeps_the_embeddings(study_of, data, encode, embeddings):
    few = {"label": "N = 2", "retrieve.neighbours": 2}
    random = {"label": "random users", "retrieve.source": "random"}
    planned = experiments.runs(study_of({"n-2": few, "random": random}), data, make_embeddings=encode)
    full, two, random = (planned[name][0].inputs for name in ("full", "n-2", "random"))
    assert encode.asked == []
    assert (two.neighbours == full.neighbours[:, :2]).all()
    assert random.neighbours.shape == full.neighbours.shape
    assert (random.neighbours != full.neighbours).any()
    assert (two.item_embeddings == embeddings.items).all()


def test_collaborative_users_are_near_in_the_trained_base_of_the_same_seed(
    study_of, settings, data, inputs, monkeypatch
):
    asked, find = [], retrieve.find
    monkeypatch.setattr(retrieve, "find", lambda *args: (asked.append(args[3]), find(*args))[1])
    study = study_of({"states": {"label": "states", "retrieve.source": "collaborative"}})
    first, second = experiments.runs(study, data)["states"]
    for seed, states in zip((1, 2), asked, strict=True):
        method = Run(settings, "sasrec", "base", seed, data, inputs).load().method  # which is in the store by now
        scorer = Scorer.of(method, data.n_items, settings.data.max_length)
        np.testing.assert_array_equal(states, scorer.states(data.train).numpy())
    assert (first.inputs.neighbours != second.inputs.neighbours).any()


def test_a_variant_has_the_views_that_it_fuses(study_of, data):
    asked, known = [], np.arange(1, data.n_items + 1)
    view = ItemView.of(known, np.random.default_rng(0).normal(size=(data.n_items, 8)), data.n_items)

    def load_views(settings, method):
        asked.append(method)
        return {"knowledge": view} if method == "multiview" else {}

    fused = {"label": "Text and graph", "method": "multiview", "methods.multiview.views": ["text", "knowledge"]}
    study = study_of({"fused": fused}, {"experiments.seeds": [1]})
    planned = experiments.runs(study, data, load_views=load_views)
    assert asked == ["llmesr", "multiview"]
    assert planned["full"][0].inputs.views == {}
    assert planned["fused"][0].inputs.views == {"knowledge": view}
    assert set(experiments.run(study, data, load_views=load_views).metrics["method"]) == {"full", "fused"}
