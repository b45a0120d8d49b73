"""The stage diversity: who is shown what, exploration that learns, an audit that sees what is there."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from conftest import changed
from llmesr import diversity, train
from llmesr.diversity import audit, bandits
from llmesr.diversity.rerank import RERANKERS, Candidates
from llmesr.errors import InputError
from llmesr.paths import results
from llmesr.report import diversity as look


def test_the_bonus_shrinks_as_counts_grow_and_grows_with_time():
    known = bandits.Learned(np.array([0, 0, 1, 10, 100]), np.zeros(5))
    bonus = known.bonus(np.array([1, 2, 3, 4]), 1000)
    assert (np.diff(bonus) < 0).all()
    assert bonus[0] == pytest.approx(np.sqrt(np.log(1000)))
    assert (known.bonus(np.array([2]), 2000) > known.bonus(np.array([2]), 1000)).all()


@pytest.fixture
def misled():
    """Ten users who all want item 2, of which the recommender believes the least."""
    items = np.tile([1, 2, 3], (10, 1))
    return bandits.World(items, np.tile([0.5, 0.02, 0.3], (10, 1)), np.tile([0.02, 0.5, 0.1], (10, 1)), 3)


def test_greedy_shows_what_it_believes_in_and_unlearns_what_nobody_clicks_on(misled):
    known = bandits.Learned(np.zeros(4), np.zeros(4))
    assert bandits.choose("greedy", 0, 0, misled, known, 1, 0.5) == 0
    known.shown[1], known.surplus[1] = 99, -48
    assert bandits.choose("greedy", 0, 0, misled, known, 100, 0.5) == 2


def test_epsilon_shows_every_candidate_now_and_then(misled):
    known = bandits.Learned(np.zeros(4), np.zeros(4))
    shown = [bandits.choose("epsilon", 0.3, 0, misled, known, 1, chance) for chance in np.linspace(0, 0.999, 1000)]
    assert shown.count(1) == pytest.approx(100, abs=2)
    assert shown.count(0) == pytest.approx(800, abs=2)


def test_exploration_finds_what_belief_hides_and_regret_stops_growing(misled):
    found = {
        policy: bandits.simulate(policy, strength, misled, 6000, seed=0)
        for policy, strength in (("greedy", 0), ("epsilon", 0.1), ("ucb", 0.2))
    }
    last = {policy: rows.tail(1).to_dicts()[0] for policy, rows in found.items()}
    assert last["ucb"]["coverage"] == last["epsilon"]["coverage"] == 1
    assert last["ucb"]["regret"] < 0.3 * last["greedy"]["regret"]
    for rows in found.values():
        assert rows["regret"].is_sorted()
        assert rows["coverage"].is_sorted()
    half = found["ucb"].filter(pl.col("round") <= 3000).tail(1)["regret"].item()
    assert last["ucb"]["regret"] - half < half  # the second half costs less


def test_the_same_seed_meets_the_same_visitors(misled):
    assert bandits.simulate("ucb", 0.2, misled, 500, 1).equals(bandits.simulate("ucb", 0.2, misled, 500, 1))


@pytest.fixture
def small(tiny):
    return changed(
        tiny, diversity__methods=["none", "dualmatch"], diversity__seeds=[42], diversity__reranked=["none"],
        diversity__trades=[0.5], train__epochs=1,
    )  # fmt: skip


@pytest.fixture
def trained(small, data, embeddings, similar):
    for method in small.diversity.methods:
        train.run(small, data, embeddings, similar, "sasrec", method, 42)
    return data, embeddings, similar


def test_exploration_is_simulated_with_every_policy_and_seed(small, trained):
    found = diversity.explore(small, *trained)
    assert pl.read_csv(results("tiny") / "exploration.csv").height == found.height
    assert set(found["policy"]) == {"greedy", "epsilon", "ucb"}
    last = found.filter(pl.col("round") == small.diversity.rounds)
    assert last.height == 3 * len(small.diversity.seeds)
    assert (last["regret"] > 0).all()


def test_a_world_has_click_probabilities_in_the_order_of_the_scores():
    found = Candidates(np.array([[3, 1, 2]]), np.array([[1.0, 0.5, 0.0]]), np.zeros((1, 2)))
    around = bandits.world(found, np.array([[-3.0, 7.0, 2.0]]), 3)
    assert around.belief.tolist() == [[pytest.approx(0.5), pytest.approx(0.1), pytest.approx(0.02)]]
    assert around.truth.tolist() == [[pytest.approx(0.02), pytest.approx(0.5), pytest.approx(0.1)]]


def test_lists_do_not_depend_on_how_many_users_are_ranked_at_once(small, trained, monkeypatch):
    found = diversity.run(small, *trained)
    monkeypatch.setattr(diversity, "BLOCK", trained[0].n_users - 1)  # the last block has one user
    assert diversity.run(small, *trained).equals(found)


def test_the_stage_measures_every_method_and_what_is_re_ranked(small, trained):
    found = diversity.run(small, *trained)
    assert pl.read_csv(results("tiny") / "diversity.csv").height == found.height
    variants = found.select("method", "reranker", "trade").unique()
    assert variants.height == 4 + len(RERANKERS)  # two references, two methods, one of them re-ranked
    assert set(found["group"]) == {"overall", "tail_user", "head_user"}
    assert found.filter(metric="coverage")["value"].is_between(0, 1).all()


def test_nobody_is_shown_what_they_had(small, trained):
    data, embeddings, similar = trained
    asked = diversity.ask(small, data, embeddings)
    for _, _, _, score in diversity.scorers(small, data, embeddings, similar, asked):
        rows = torch.arange(len(asked.users))
        found = diversity.shortlist(score, rows, asked, 10, 5)
        for row, user in enumerate(asked.users):
            real = found.items[row][np.isfinite(found.relevance[row])]
            assert not set(real) & {0, *data.train[user]}


def test_shares_and_profiles_are_means_over_the_history(small, trained):
    data, embeddings, _ = trained
    asked = diversity.ask(small, data, embeddings)
    history = data.train[asked.users[3]]
    assert asked.shares[3] == pytest.approx(asked.catalogue.categories[history].mean(0), abs=1e-6)
    assert asked.profiles[3] == pytest.approx(asked.catalogue.counts[history].mean())


def test_leakage_is_chance_for_noise_and_certain_for_what_is_said_outright():
    rng = np.random.default_rng(0)
    labels = np.array(["a", "b"])[rng.integers(2, size=300)]
    noise = rng.normal(size=(300, 8))
    assert audit.leakage(noise, labels) == pytest.approx(0.5, abs=0.08)
    told = np.column_stack([noise, labels == "a"])
    assert audit.leakage(told, labels) > 0.99
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


def test_small_groups_and_unknown_users_are_left_out(data):
    club = ["few"] * 5 + ["yes"] * 40 + ["no"] * 40 + [None] * (data.n_users - 85)
    known = replace(data, users=data.users.with_columns(club=pl.Series(club)))
    labels = audit.groups_of(known, "club")
    assert dict(zip(*np.unique(labels, return_counts=True), strict=True)) == {
        "": data.n_users - 80,
        "no": 40,
        "yes": 40,
    }
    with pytest.raises(InputError, match=r"names 'colour', and of users is known: club"):
        audit.groups_of(known, "colour")
    alone = replace(data, users=data.users.with_columns(club=pl.lit("yes")))
    with pytest.raises(InputError, match="'club' has no two groups of 20 users"):
        audit.groups_of(alone, "club")


def test_the_audit_has_every_method_and_the_history(small, trained):
    small = changed(small, study__variants={})
    found = audit.audit(small, *trained)
    assert pl.read_csv(results("tiny") / "audit.csv").height == found.height
    assert set(found["method"]) == {"history", "user_text", "none", "dualmatch"}
    assert set(found.filter(method="none")["metric"]) == {"leakage", "NDCG@10", "gap"}
    assert set(found.filter(method="history")["metric"]) == {"leakage"}
    assert set(found.filter(method="none")["attribute"]) == {"club_member", "popularity"}
    assert set(found.filter(attribute="popularity", metric="NDCG@10")["group"]) == {"head", "tail"}


def test_an_audits_table_by_hand():
    columns = ["method", "seed", "attribute", "group", "metric", "value"]
    rows = [
        ("history", 0, "kids", "all", "leakage", 0.55),
        *(("dualmatch", seed, "kids", "no", "NDCG@10", value) for seed, value in enumerate((0.1, 0.3))),
        ("dualmatch", 0, "kids", "yes", "NDCG@10", 0.1),
        ("dualmatch", 0, "age", "25-34", "NDCG@10", 0.9),  # of another attribute
        ("mine", 0, "kids", "all", "gap", 0.02),
    ]
    text = look.audit_table(pl.DataFrame(rows, schema=columns, orient="row"), "kids", {"mine": "A variant"})
    assert text.splitlines() == [
        "| Method | NDCG@10, no | NDCG@10, yes | Gap ↓ | Leakage (AUC) ↓ |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| History itself | – | – | – | 0.5500 |",
        "| DualMatch | 0.2000 ± 0.1414 | 0.1000 | – | – |",
        "| A variant | – | – | 0.0200 | – |",
    ]


def test_what_reranking_trades_by_hand():
    """Of the measure that should grow, the plain list and the second weight are on the front; the first is beaten."""
    columns = ["method", "reranker", "trade", "group", "metric", "value"]
    lists = {("none", 0.0): (0.4, 0.1), ("mmr", 0.5): (0.2, 0.1), ("mmr", 0.9): (0.3, 0.6)}
    rows = [
        ("none", *which, "overall", metric, value)
        for which, values in lists.items()
        for metric, value in zip(("NDCG@10", "semantic diversity"), values, strict=True)
    ]
    text = look.trades_table(
        pl.DataFrame(rows, schema=columns, orient="row"), "none", ("semantic diversity", "novelty")
    )
    assert text.splitlines()[0] == "| Re-ranking | λ | NDCG@10 | Semantic diversity ↑ |"  # novelty is not there
    assert text.splitlines()[2:] == [
        "| – |  | 0.4000 | 0.100* |",
        "| MMR | 0.5 | 0.2000 | 0.100 |",
        "| MMR | 0.9 | 0.3000 | 0.600* |",
    ]


def test_a_profile_has_a_panel_a_measure_and_a_dot_a_method():
    rows = [
        (method, "none", "overall", metric, seed, value + seed)
        for method, value in (("none", 1.0), ("dualmatch", 3.0))
        for metric in ("NDCG@10", "novelty", "coverage")
        for seed in (0, 1)
    ]
    found = pl.DataFrame(rows, schema=["method", "reranker", "group", "metric", "seed", "value"], orient="row")
    panels = [axis for axis in look.profile(found).axes if axis.get_visible()]
    assert [axis.get_title() for axis in panels] == ["Novelty ↑", "Coverage ↑"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["None", "DualMatch"]
    places = [(float(x), int(y)) for line in panels[0].lines for x, y in line.get_xydata() if not np.isnan(x)]
    assert (1.5, 0) in places  # the mean over seeds
    assert (3.5, 1) in places


def test_a_column_that_is_not_there_is_an_error(small, data, embeddings):
    with pytest.raises(InputError, match=r"'diversity\.category' is 'colour', .*\(brand, category, grade\)"):
        diversity.ask(changed(small, diversity__category="colour"), data, embeddings)


def test_without_categories_nothing_is_measured_by_them(small, trained):
    found = diversity.run(changed(small, diversity__category=None), *trained)
    assert not {"category diversity", "miscalibration"} & set(found["metric"])
    assert set(found["reranker"]) == {"none", *RERANKERS} - {"calibrated"}
    text = look.table(found)
    assert "Category" not in text
    assert look.trades(found, ("none",), ("semantic diversity", "miscalibration")).axes[1:2] == []


def test_a_list_that_nobody_can_fill_is_an_error(small, trained):
    with pytest.raises(InputError, match=r"a user has had all items but \d+, and lists hold 48: lower 'diversity\.k'"):
        diversity.run(changed(small, diversity__k=48, diversity__candidates=48), *trained)


def test_fewer_candidates_than_a_list_holds_are_an_error(tiny):
    with pytest.raises(ValueError, match="3 candidates are fewer than the 5 items"):
        changed(tiny, diversity__candidates=3)
