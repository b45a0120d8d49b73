"""Studies: a variant is LLM-ESR with one thing changed, and all else as it was."""

import json

import numpy as np
import polars as pl
import pytest
from conftest import ROOT, changed
from llmesr import evaluate, paths, retrieve, study, train
from llmesr.errors import InputError
from llmesr.paths import results, variant_folder
from llmesr.settings import load


def row(about, label, change, method="llmesr"):
    """Make a variant as the settings file has it."""
    return {"study": about, "method": method, "label": label, "change": change}


VARIANTS = {
    "no-fusion": row("ablation", "w/o cross-attention", {"methods": {"llmesr": {"fusion": False}}}),
    "nothing": row("ablation", "the same", {}),
    "alpha-1": row("hyperparameters", "α = 1", {"methods": {"llmesr": {"alpha": 1.0}}}),
    "collaborative": row("similarity", "states", {"retrieve": {"source": "collaborative"}}),
    "titles": row("language", "titles", {"embed": {"item_template": "{title}"}}),
}


@pytest.fixture
def settings(tiny, data, embeddings, similar, monkeypatch):
    """Settings with variants, their embeddings and the runs that they stand beside."""
    chosen = changed(
        tiny,
        train__epochs=1,
        matrix__backbones=["sasrec"],
        matrix__methods=["none", "llmesr"],
        matrix__seeds=[1, 2],
        study__seeds=[1, 2],
        study__variants=VARIANTS,
    )
    monkeypatch.setattr(study.embed, "load", lambda name: embeddings)
    retrieve.run(chosen, data, embeddings)
    for run in chosen.matrix.runs():
        train.run(chosen, data, embeddings, similar, *run)
    return chosen


def test_a_change_is_laid_over_the_settings_and_nothing_else(settings):
    own = study.changed(settings, "alpha-1")
    assert own.methods.llmesr.alpha == 1.0
    assert own.methods.llmesr.model_copy(update={"alpha": settings.methods.llmesr.alpha}) == settings.methods.llmesr
    assert own.model_copy(update={"methods": settings.methods}) == settings
    assert study.changed(settings, "nothing") == settings


def test_bad_variants_are_named(settings):
    with pytest.raises(InputError, match=r"'no-such' is not among 'study.variants': no-fusion, nothing,"):
        study.changed(settings, "no-such")
    for change, message in (
        ({"methods": {"llmesr": {"alfa": 1.0}}}, r"'study.variants.bad.change.methods.llmesr.alfa': Extra inputs"),
        ({"retrieve": {"neighbours": 0}}, r"'study.variants.bad.change.retrieve.neighbours': Input should be"),
        ({"prepare": {"split": "temporal"}}, r"'study.variants.bad.change' names 'prepare', which"),
        ({"methods": {"cities": {"window": 3}}}, r"'study.variants.bad.change' names 'cities', which"),
    ):
        bad = changed(settings, study__variants={"bad": {**VARIANTS["nothing"], "change": change}})
        with pytest.raises(InputError, match=message):
            study.changed(bad, "bad")


@pytest.mark.parametrize("file", ["params.yaml", paths.TINY_PARAMS])
def test_every_variant_of_the_settings_files_is_valid_and_changes_something(file):
    whole = load(ROOT / file)
    for variant, about in whole.study.variants.items():
        assert study.changed(whole, variant) != whole or about.method != study.METHOD, variant
    assert {about.study for about in whole.study.variants.values()} == set(study.STUDIES)


def test_a_variant_of_another_method_is_that_method(settings, data):
    plain = row("stronger", "None", {"train": {"loss": "cross_entropy"}}, "none")
    study.run(changed(settings, study__variants={"plain": plain}), data, "plain")
    account = json.loads((variant_folder("tiny", "plain") / "1" / "run.json").read_text())
    assert account["method"] == "none"
    plain["change"] = {"methods": {"llmesr": {"alpha": 0.1}}}
    with pytest.raises(InputError, match=r"'study.variants.plain.change' names 'llmesr', which has no effect"):
        study.changed(changed(settings, study__variants={"plain": plain}), "plain")


def test_a_variant_that_changes_nothing_is_the_run_itself(settings, data):
    main = evaluate.run(settings, data).metrics.filter(backbone="sasrec", method="llmesr")
    again = study.run(settings, data, "nothing")
    assert again.drop("method").equals(main.drop("method"))
    assert set(again["method"]) == {"nothing"}
    other = study.run(settings, data, "no-fusion")
    assert not other.drop("method").equals(main.drop("method"))


def test_teachers_of_a_trained_recommender_are_those_near_its_states(settings, data, monkeypatch):
    asked = []
    real = retrieve.find

    def spy(own, of, vectors, states):
        asked.append(states)
        return real(own, of, vectors, states)

    monkeypatch.setattr(study.retrieve, "find", spy)
    study.run(settings, data, "collaborative")
    first, second = asked
    assert first.shape == (data.n_users, settings.model.hidden)
    assert not np.allclose(first, second)  # each seed asks its own plain backbone


def test_a_variant_of_the_prompt_encodes_anew(settings, data, embeddings, monkeypatch):
    asked = []
    monkeypatch.setattr(study.embed, "make", lambda own, of: asked.append(own.embed.item_template) or embeddings)
    study.run(settings, data, "titles")
    assert asked == ["{title}"]


def test_gathering_a_study(settings, data):
    with pytest.raises(InputError, match=r"metrics.csv is missing: run `dvc repro evaluate` first"):
        study.gather(settings, "ablation")
    evaluate.run(settings, data)
    with pytest.raises(InputError, match=r"no-fusion/metrics.parquet is missing: run `dvc repro study/dvc.yaml:var"):
        study.gather(settings, "ablation")
    study.run(settings, data, "no-fusion")
    found = study.gather(settings, "ablation")
    assert found["method"].unique(maintain_order=True).to_list() == ["full", "no-fusion", "nothing"]
    same = [found.filter(method=name).drop("method") for name in ("full", "nothing")]
    assert same[0].equals(same[1])  # which the matrix has trained
    assert found["backbone"].unique().to_list() == ["sasrec"]
    ranks = study.gather(settings, "ablation", "ranks")
    assert ranks.group_by("method", "seed", "protocol").len()["len"].unique().to_list() == [data.n_users]
    study.publish(settings, "ablation", found)
    assert pl.read_csv(results("tiny") / "ablation.csv").columns == found.columns
    assert not list(variant_folder("tiny", "no-fusion").rglob("*.pt"))


def test_what_variants_are_compared_with_must_be_a_run(settings, data):
    for changes, message in (
        ({"study__seeds": [1, 3]}, r"the study needs 3, which is not in 'matrix.seeds'"),
        ({"matrix__methods": ["llmesr"]}, r"the study needs 'none', which is not in 'matrix.methods'"),
        ({"study__backbone": "gru4rec"}, r"the study needs 'gru4rec', which is not in 'matrix.backbones'"),
    ):
        with pytest.raises(InputError, match=message):
            study.run(changed(settings, **changes), data, "no-fusion")


def test_labels_and_values(settings):
    assert study.labels(settings, "hyperparameters") == {"full": "LLM-ESR", "alpha-1": "α = 1"}
    default = settings.methods.llmesr.alpha
    assert study.values(settings, "hyperparameters", "methods.llmesr.alpha") == {"full": default, "alpha-1": 1.0}
    assert study.values(settings, "ablation", "methods.llmesr.alpha") == {"full": default}
