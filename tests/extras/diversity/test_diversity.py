"""The stage diversity: who is shown what, exploration that learns, an audit that sees what is there."""

import numpy as np
import polars as pl
import pytest
import torch
from helpers import V
from llmesr.errors import InputError
from llmesr.extras import diversity
from llmesr.extras.diversity import bandits
from llmesr.extras.diversity.rerank import RERANKERS, Candidates
from llmesr.models import scoring
from llmesr.models.scoring import Scores
from llmesr.paths import results
from llmesr.report import diversity as report


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


def test_what_was_learned_of_an_item_is_its_mean_surplus_with_one_visit_more():
    known = bandits.Learned(np.array([0, 0, 1, 9]), np.array([0, 0, 0.5, -3]))
    assert known.mean(np.array([1, 2, 3])).tolist() == [0, 0.25, -0.3]


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
    return tiny.changed(
        {
            "diversity.methods": ["base", "dualmatch"],
            "diversity.seeds": [42],
            "diversity.reranked": ["base"],
            "diversity.tradeoffs": [0.5],
            "train.epochs": 1,
            "train.workers": 1,
        }
    )


@pytest.fixture
def references(monkeypatch):
    """Look at the references alone, which need no training."""
    monkeypatch.setattr(diversity, "train_all", lambda runs, title: [])
    monkeypatch.setattr(diversity, "matrix_runs", lambda *positional, **own: [])


@pytest.mark.slow
def test_exploration_is_simulated_with_every_policy_and_seed(small, data, inputs):
    found = diversity.explore(small, data, inputs)
    assert pl.read_csv(results("tiny", "explore") / "exploration.csv").height == found.height
    assert set(found["policy"]) == {"greedy", "epsilon", "ucb"}
    last = found.filter(pl.col("round") == small.diversity.rounds)
    assert last.height == 3 * len(small.diversity.seeds)
    assert (last["regret"] > 0).all()
    assert len(report.exploration(found).axes) == 2


def test_a_world_has_click_probabilities_in_the_order_of_the_scores():
    found = Candidates(np.array([[3, 1, 2]]), np.array([[1.0, 0.5, 0.0]]), np.zeros((1, 2)))
    world = bandits.world(found, np.array([[-3.0, 7.0, 2.0]]), 3)
    assert world.belief.tolist() == [[pytest.approx(0.5), pytest.approx(0.1), pytest.approx(0.02)]]
    assert world.truth.tolist() == [[pytest.approx(0.02), pytest.approx(0.5), pytest.approx(0.1)]]


def test_lists_do_not_depend_on_how_many_users_are_ranked_at_once(small, data, inputs, references, monkeypatch):
    found = diversity.run(small, data, inputs)
    monkeypatch.setattr(scoring, "BLOCK_USERS", data.n_users - 1)  # the last block has one user
    assert diversity.run(small, data, inputs).equals(found)


@pytest.mark.slow
def test_the_stage_measures_every_method_and_what_is_re_ranked(small, data, inputs):
    found = diversity.run(small, data, inputs)
    assert pl.read_csv(results("tiny", "diversity") / "diversity.csv").height == found.height
    variants = found.select("method", "reranker", "trade").unique()
    assert variants.height == 4 + len(RERANKERS)  # two references, two methods, one of them re-ranked
    assert set(found["group"]) == {"overall", "tail_user", "head_user"}
    assert found.filter(metric="coverage")["value"].is_between(0, 1).all()
    assert report.heading(found) == "tiny, SASRec, 1 seed"
    assert report.tradeoffs(found, ("base", "llmesr"), ("semantic diversity",)).axes[0].get_title() == "Base"


class ById(Scores):
    """The larger an item's number, the better, for everybody."""

    def __init__(self, n_items):
        self.n_items = n_items

    def __call__(self, histories):
        return torch.arange(self.n_items + 1).float().repeat(len(histories), 1)


def test_everybody_is_listed_by_the_version_that_has_not_learned_from_them(small, data, inputs):
    users = diversity.list_users(small, data, inputs)

    class Backwards(ById):
        def __call__(self, histories):
            return -super().__call__(histories)

    n = len(users.users)
    odd, even = (torch.arange(n)[torch.arange(n) % 2 == half] for half in (1, 0))
    both = diversity.shortlist([(odd, ById(V)), (even, Backwards(V))], users, 5, 1)
    alone = [diversity.shortlist([(torch.arange(n), kind(V))], users, 5, 1).items for kind in (ById, Backwards)]
    for row in range(n):
        assert both.items[row].tolist() == alone[row % 2 == 0][row].tolist()


def test_nobody_is_shown_what_they_had(small, data, inputs):
    users = diversity.list_users(small, data, inputs)
    best = diversity.shortlist([(torch.arange(len(users.users)), ById(data.n_items))], users, 10, 5)
    for row, user in enumerate(users.users):
        had = {0, *data.train[user].tolist()}
        assert best.items[row].tolist() == [item for item in range(data.n_items, 0, -1) if item not in had][:10]


def test_shares_and_popularity_are_means_over_the_history(small, data, inputs):
    users = diversity.list_users(small, data, inputs)
    history = data.train[users.users[3]].numpy()
    assert users.shares[3] == pytest.approx(users.catalogue.categories[history].mean(0), abs=1e-6)
    assert users.popularity[3] == pytest.approx(users.catalogue.counts[history].mean())


def test_lists_and_groups_are_those_of_the_users_with_a_validation_item(uneven, inputs):
    settings, data = uneven
    users = diversity.list_users(settings, data, inputs)
    best = diversity.shortlist([(torch.arange(len(users.users)), ById(V))], users, 5, 1)
    assert users.users.tolist() != list(range(len(users.users)))
    for row, user in enumerate(users.users.tolist()):
        had = data.train[user].tolist()
        assert users.histories[row].tolist() == had
        assert users.groups["tail_user"][row] == (data.users["tail"][user] == "tail_user")
        assert users.popularity[row] == pytest.approx(users.catalogue.counts[had].mean())
        left = [item for item in range(V, 0, -1) if item not in had]
        assert best.items[row][np.isfinite(best.relevance[row])].tolist() == left[:5]


def test_groups_have_the_means_of_their_users_by_hand(small, data, inputs):
    """Lists that hold the target at the top for tail users, and nowhere for head users."""
    users = diversity.list_users(small, data, inputs)
    tail, lists = users.groups["tail_user"], np.zeros((len(users.users), 2), int)
    lists[:, 0] = np.where(tail, users.targets, users.targets % data.n_items + 1)
    lists[:, 1] = (users.targets + 1) % data.n_items + 1
    rows = {(row["group"], row["metric"]): row["value"] for row in diversity.measure(lists, users)}
    assert rows["tail_user", "NDCG@2"] == rows["tail_user", "HR@2"] == 1
    assert rows["head_user", "NDCG@2"] == 0
    assert rows["overall", "HR@2"] == pytest.approx(tail.mean())


def test_exposure_and_serendipity_by_hand(small, data, inputs):
    """Lists of two that hold the target: all hit, and surprise where the two best-sellers are not the target."""
    users, counts = diversity.list_users(small, data, inputs), data.items["count"].to_list()
    lists = np.stack([users.targets, users.targets % V + 1], 1)
    rows = {row["metric"]: row["value"] for row in diversity.measure(lists, users) if row["group"] == "overall"}
    best_sellers = sorted(range(1, V + 1), key=lambda item: -counts[item - 1])[:2]
    assert 0 < rows["serendipity"] < 1
    assert rows["serendipity"] == pytest.approx(np.mean([target not in best_sellers for target in users.targets]))
    tail = (data.items["tail"] == "tail_item").to_numpy()
    assert tail.mean() != pytest.approx(0.5, abs=0.05)
    assert rows["tail exposure"] == pytest.approx(tail[lists - 1].mean())


def test_what_reranking_trades_by_hand():
    """Of the measure that should grow, the plain list and the second weight are on the front; the first is beaten."""
    columns = ["method", "reranker", "trade", "group", "metric", "value"]
    lists = {("none", 0.0): (0.4, 0.1), ("mmr", 0.5): (0.2, 0.1), ("mmr", 0.9): (0.3, 0.6)}
    rows = [
        ("base", *which, "overall", metric, value)
        for which, values in lists.items()
        for metric, value in zip(("NDCG@10", "semantic diversity"), values, strict=True)
    ]
    text = report.tradeoffs_table(
        pl.DataFrame(rows, schema=columns, orient="row"), "base", ("semantic diversity", "novelty")
    )
    assert text.splitlines()[0] == "| Re-ranking | λ | NDCG@10 | Semantic diversity ↑ |"  # novelty is not there
    assert text.splitlines()[2:] == [
        "| – |  | 0.400 | 0.100* |",
        "| MMR | 0.5 | 0.200 | 0.100 |",
        "| MMR | 0.9 | 0.300 | 0.600* |",
    ]


def test_a_profile_has_a_panel_a_measure_and_a_dot_a_method():
    rows = [
        ("tiny", "sasrec", method, "none", "overall", metric, seed, value + seed)
        for method, value in (("base", 1.0), ("dualmatch", 3.0))
        for metric in ("NDCG@10", "novelty", "coverage")
        for seed in (0, 1)
    ]
    columns = ["dataset", "backbone", "method", "reranker", "group", "metric", "seed", "value"]
    found = pl.DataFrame(rows, schema=columns, orient="row")
    panels = [axis for axis in report.profile(found).axes if axis.get_visible()]
    assert [axis.get_title() for axis in panels] == ["Novelty ↑", "Coverage ↑"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["Base", "DualMatch"]
    places = [(float(x), int(y)) for line in panels[0].lines for x, y in line.get_xydata() if not np.isnan(x)]
    assert (1.5, 0) in places  # the mean over seeds
    assert (3.5, 1) in places


def test_a_column_that_is_not_there_is_an_error(small, data, inputs):
    with pytest.raises(InputError, match=r"'datasets\.tiny\.category' is 'colour', .*\(brand, category, grade\)"):
        diversity.list_users(small.changed({"data.category": "colour"}), data, inputs)


@pytest.mark.slow
def test_without_categories_nothing_is_measured_by_them(small, data, inputs):
    found = diversity.run(small.changed({"data.category": None}), data, inputs)
    assert not {"category diversity", "miscalibration"} & set(found["metric"])
    assert set(found["reranker"]) == {"none", *RERANKERS} - {"calibrated"}
    assert "Category" not in report.table(found)
    assert report.tradeoffs(found, ("base",), ("semantic diversity", "miscalibration")).axes[1:2] == []


def test_a_list_that_nobody_can_fill_is_an_error(small, data, inputs, references):
    too_many = small.changed({"diversity.k": 48, "diversity.candidates": 48})
    with pytest.raises(InputError, match=r"a user has had all items but \d+, and lists hold 48: lower 'diversity\.k'"):
        diversity.run(too_many, data, inputs)


def test_fewer_candidates_than_a_list_holds_are_an_error(tiny):
    with pytest.raises(ValueError, match="3 candidates are fewer than the 5 items"):
        tiny.changed({"diversity.candidates": 3})


def test_every_policy_meets_the_same_visitors(misled):
    """Without exploration the three are one policy, and the same clicks come."""
    same = [bandits.simulate(policy, 0.0, misled, 300, seed=5) for policy in ("greedy", "epsilon", "ucb")]
    assert same[0].equals(same[1])
    assert same[0].equals(same[2])
