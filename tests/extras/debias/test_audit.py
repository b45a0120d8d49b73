"""The audit: it sees what is there, leaves out what is too small, and says so where there is nothing to audit."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from llmesr import experiments
from llmesr.errors import InputError
from llmesr.experiments import Study
from llmesr.extras.debias import audit
from llmesr.paths import results
from llmesr.report import diversity as report
from llmesr.runs.store import TrainedRun

KEY = "datasets.tiny.user_attributes"


@pytest.fixture
def small(tiny):
    changes = {"diversity.methods": ["base"], "diversity.seeds": [42], "train.epochs": 1, "train.workers": 1}
    return tiny.changed(changes)


def without_variants(settings):
    return Study("debias", "", settings, {})


def test_leakage_is_chance_for_noise_and_certain_for_what_states_hold_outright():
    rng = np.random.default_rng(0)
    labels = np.array(["a", "b"])[rng.integers(2, size=300)]
    noise = rng.normal(size=(300, 8))
    assert audit.leakage(noise, labels) == pytest.approx(0.5, abs=0.08)
    revealing = np.column_stack([noise, labels == "a"])
    assert audit.leakage(revealing, labels) > 0.99
    three = np.array(["a", "b", "c"])[rng.integers(3, size=300)]
    assert audit.leakage(np.column_stack([noise, three == "a", three == "b"]), three) > 0.99


def test_a_gap_is_between_the_best_and_the_worst_served_group():
    labels = np.array(["a"] * 10 + ["b"] * 10 + [""])
    ranks = np.array([1.0] * 10 + [3.0] * 10 + [1])
    rows = audit.measure(labels, np.random.default_rng(0).normal(size=(21, 3)), labels, ranks)
    values = {(row["group"], row["metric"]): row["value"] for row in rows}
    assert values["a", "NDCG@10"] == 1
    assert values["b", "NDCG@10"] == 0.5
    assert values["all", "gap"] == 0.5
    assert 0 <= values["all", "leakage"] <= 1


def test_small_groups_and_unknown_users_are_left_out(data, capsys):
    club = ["few"] * 5 + ["yes"] * 40 + ["no"] * 40 + [None] * (data.n_users - 85)
    known = replace(data, users=data.users.with_columns(club=pl.Series(club)))
    labels = audit.groups_of(known, "club", KEY)
    assert dict(zip(*np.unique(labels, return_counts=True), strict=True)) == {
        "": data.n_users - 80,
        "no": 40,
        "yes": 40,
    }
    with pytest.raises(InputError, match=f"key '{KEY}' names 'colour', and users have: club"):
        audit.groups_of(known, "colour", KEY)
    alone = replace(data, users=data.users.with_columns(club=pl.lit("yes")))
    assert set(audit.groups_of(alone, "club", KEY)) == {""}
    assert "'club' has no two groups of 20 users with a validation item, and is not audited" in capsys.readouterr().err


def test_a_group_of_just_as_many_users_as_it_must_have_is_told_apart(data):
    clubs = ["one too few"] * (audit.FEWEST - 1) + ["enough"] * audit.FEWEST
    clubs += ["many"] * (data.n_users - len(clubs))
    labels = audit.groups_of(replace(data, users=data.users.with_columns(club=pl.Series(clubs))), "club", KEY)
    assert set(labels) == {"", "enough", "many"}


def test_groups_are_those_of_the_users_with_a_validation_item(uneven, monkeypatch):
    monkeypatch.setattr(audit, "FEWEST", 2)
    data = uneven[1]
    clubs = [f"club {user % 3}" for user in range(data.n_users)]
    labels = audit.groups_of(replace(data, users=data.users.with_columns(club=pl.Series(clubs))), "club", KEY)
    asked = data.validation.users.tolist()
    assert asked != list(range(len(asked)))
    assert labels.tolist() == [clubs[user] for user in asked]


@pytest.mark.slow
def test_the_audit_has_every_method_and_the_history(small, data, inputs):
    found = audit.run(small, data, inputs, without_variants(small))
    assert pl.read_csv(results("tiny", "debias") / "audit.csv").height == found.height
    assert set(found["method"]) == {"history", "user_text", "base"}
    assert set(found.filter(method="base")["metric"]) == {"leakage", "NDCG@10", "gap"}
    assert set(found.filter(method="history")["metric"]) == {"leakage"}
    assert set(found.filter(method="base")["attribute"]) == {"club_member", "popularity"}
    assert set(found.filter(attribute="popularity", metric="NDCG@10")["group"]) == {"head", "tail"}
    text = report.audit(found, "tiny", {})
    assert "tiny, SASRec, 1 seed" in text
    assert "**club_member**" in text


@pytest.mark.slow
def test_variants_with_an_adversary_are_audited_and_others_are_not(small, data, inputs):
    variants = experiments.load(small, data)["debias"].variants
    kept = {name: variants[name] for name in ("full", "none-ips-0-5", "llmesr-adv-popularity")}
    found = audit.run(small, data, inputs, Study("debias", "", small, kept))
    assert set(found["method"]) == {"history", "user_text", "base", "llmesr-adv-popularity"}


def test_a_run_is_ranked_among_what_its_users_have_not_had(small, data, inputs, monkeypatch):
    untrained = lambda runs, title: [TrainedRun(run.build().eval(), {}, []) for run in runs]  # noqa: E731
    monkeypatch.setattr(audit, "train_all", untrained)
    *_, base = audit._audited(small, data, inputs, without_variants(small))
    scores = base.states @ base.table.T
    for row, (user, item) in enumerate(zip(data.validation.users, data.validation.items, strict=True)):
        others = set(range(1, data.n_items + 1)) - {*data.train[int(user)].tolist(), int(item)}
        assert base.ranks[row] == 1 + sum(scores[row, other - 1] > scores[row, item - 1] for other in others)


def test_items_are_audited_by_how_popular_the_asked_ones_are(data):
    tail = (data.items["tail"] == "tail_item").to_numpy()
    ranks = np.where(tail[data.validation.items - 1], 1.0, 99.0)
    table = np.random.default_rng(0).normal(size=(data.n_items, 3))
    rows = list(audit._measure_all(audit.Audited("sasrec", "base", 0, None, table, ranks), data, {}))
    assert {row["attribute"] for row in rows} == {"popularity"}
    values = {(row["group"], row["metric"]): row["value"] for row in rows}
    assert (values["tail", "NDCG@10"], values["head", "NDCG@10"], values["all", "gap"]) == (1, 0, 1)


def test_without_user_attributes_there_is_a_header_and_a_sentence(small, data, inputs):
    none = small.changed({"data.user_attributes": [], "data.sensitive_attribute": None})
    found = audit.run(none, data, inputs, without_variants(none))
    lines = (results("tiny", "debias") / "audit.csv").read_text().splitlines()
    assert lines == ["dataset,backbone,method,seed,attribute,group,metric,value"]
    assert report.audit(found, "tiny", {}) == (
        "'datasets.tiny.user_attributes' names no attribute of users, so there is nothing to audit."
    )


def test_an_audits_table_by_hand():
    columns = ["method", "seed", "attribute", "group", "metric", "value"]
    rows = [
        ("history", 0, "kids", "all", "leakage", 0.55),
        *(("dualmatch", seed, "kids", "no", "NDCG@10", value) for seed, value in enumerate((0.1, 0.3))),
        ("dualmatch", 0, "kids", "yes", "NDCG@10", 0.1),
        ("dualmatch", 0, "age", "25-34", "NDCG@10", 0.9),  # of another attribute
        ("mine", 0, "kids", "all", "gap", 0.02),
    ]
    text = report.audit_table(pl.DataFrame(rows, schema=columns, orient="row"), "kids", {"mine": "A variant"})
    assert text.splitlines() == [
        "| Method | NDCG@10, no | NDCG@10, yes | Gap ↓ | Leakage (AUC) ↓ |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| History itself | – | – | – | 0.550 |",
        "| DualMatch | 0.200 ± 0.141 | 0.100 | – | – |",
        "| A variant | – | – | 0.020 | – |",
    ]
