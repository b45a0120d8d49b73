"""Items that training never saw: nothing of them is left to learn from, and they are ranked as they should be."""

from dataclasses import replace
from types import SimpleNamespace
from zlib import crc32

import numpy as np
import polars as pl
import pytest
import torch
from helpers import sequences_of
from llmesr import embed
from llmesr.errors import InputError
from llmesr.extras import cold
from llmesr.extras.cold import NearestOfHistory, cold_split
from llmesr.models import scoring
from llmesr.models.scoring import Scores
from llmesr.models.whitening import whiten
from llmesr.paths import results
from llmesr.report import cold as report
from llmesr.sequences import Sequences


@pytest.fixture
def split(tiny, data):
    return cold_split(data, tiny.changed({"cold.share": 0.25}))


def old_numbers(split, items):
    """What items of the split's numbering were called before."""
    return split.order[np.asarray(items) - 1] + 1


def test_no_held_out_item_is_left_to_learn_from(split, data):
    trained = split.data.n_items
    assert split.data.train.items.max() <= trained
    assert split.data.validation.items.max() <= trained
    assert split.data.validation.negatives.max() <= trained
    assert split.cold_items["item"].to_list() == list(range(trained + 1, split.n_items + 1))
    assert not set(split.cold_items["item_id"]) & set(split.data.items["item_id"])
    assert split.n_items == data.n_items


def test_what_is_left_is_what_was_there_in_its_order(split, data):
    for own, user_id in enumerate(split.data.users["user_id"]):
        user = data.users["user_id"].to_list().index(user_id)
        kept = [
            item for item in data.train[user].tolist() if item in old_numbers(split, range(1, split.data.n_items + 1))
        ]
        assert old_numbers(split, split.data.train[own]).tolist() == kept
    assert (split.data.train.lengths > 0).all()
    titles = data.items["title"].gather(old_numbers(split, split.data.items["item"]) - 1)
    assert split.data.items["title"].to_list() == titles.to_list()


def test_counts_of_the_items_that_are_left_are_those_of_their_interactions(split):
    counts = np.bincount(split.data.train.items, minlength=split.data.n_items + 1)[1:]
    assert split.data.items["count"].to_list() == counts.tolist()


def test_a_case_asks_for_a_new_item_after_trained_ones(split, data):
    trained, halves = split.data.n_items, [set(cases.targets.items) for cases in split.cases.values()]
    assert not halves[0] & halves[1]
    for cases in split.cases.values():
        assert cases.targets.items.min() > trained
        assert len(set(cases.targets.users)) == len(cases.targets.users)
        for row, user in enumerate(cases.targets.users):
            history = cases.histories.items[cases.histories.row == row].numpy()
            whole = data.train[data.users["user_id"].to_list().index(split.data.users["user_id"][int(user)])]
            target = old_numbers(split, [cases.targets.items[row]])[0]
            asked = data.validation.items[data.validation.users == original_user(data, split, user)]
            before = np.append(whole.numpy(), asked).tolist()
            before = before[: len(before) - before[::-1].index(target) - 1]
            expected = [item for item in before if item in old_numbers(split, range(1, trained + 1))]
            assert old_numbers(split, history).tolist() == expected
            assert len(history) > 0


def original_user(data, split, user):
    return data.users["user_id"].to_list().index(split.data.users["user_id"][int(user)])


def test_negatives_were_never_touched_and_what_was_had_is_left_out(split, data):
    for cases in split.cases.values():
        for row, user in enumerate(cases.targets.users):
            own = original_user(data, split, user)
            touched = {*data.train[own].tolist(), *data.validation.items[data.validation.users == own]}
            drawn = cases.targets.negatives[row]
            assert not touched & set(old_numbers(split, drawn[drawn > 0]))
            had = cases.seen.items[cases.seen.row == row].numpy()
            assert cases.targets.items[row] not in had


def test_new_items_are_ranked_among_all_and_trained_ones_among_trained_ones(split):
    trained, asked = split.data.n_items, split.data.validation
    for cases in split.cases.values():
        drawn = cases.targets.negatives
        assert drawn.max() > trained
        assert (drawn[drawn > 0] <= trained).any()
    for user, item, drawn in zip(asked.users, asked.items, asked.negatives, strict=True):
        assert not {*split.data.train[int(user)].tolist(), int(item)} & set(drawn.tolist())


def test_a_case_is_the_last_new_item_of_its_half(split, data):
    first, last = split.data.n_items + 1, split.n_items
    middle = first + len(split.cold_items) // 2
    for cases, low, high in zip(split.cases.values(), (first, middle), (middle - 1, last), strict=True):
        for user, item in zip(cases.targets.users, cases.targets.items, strict=True):
            own = original_user(data, split, user)
            had = [*data.train[own].tolist(), *data.validation.items[data.validation.users == own].tolist()]
            numbers = [split.order.tolist().index(old - 1) + 1 for old in had]
            assert item == [number for number in numbers if low <= number <= high][-1]


def test_too_small_a_share_is_an_error(tiny, data):
    with pytest.raises(InputError, match=r"'cold.share' holds out 0 of 48 items"):
        cold_split(data, tiny.changed({"cold.share": 0.001}))


def test_what_leaves_nothing_to_validate_or_to_ask_for_is_an_error(tiny, data, split):
    def everywhere(item, train):
        validation = replace(data.validation, items=np.full_like(data.validation.items, item))
        same = Sequences(torch.full_like(data.train.items, item), data.train.lengths)
        return replace(data, validation=validation, train=same if train else data.train)

    known, new = (int(row) + 1 for row in split.order[[0, -1]])
    settings = tiny.changed({"cold.share": 0.25})
    with pytest.raises(InputError, match=r"all validation items are among the 12 held out: lower 'cold.share', or"):
        cold_split(everywhere(new, train=False), settings)
    with pytest.raises(InputError, match=r"nobody goes on to one of the 12 items held out: raise 'cold.share'"):
        cold_split(everywhere(known, train=True), settings)


def test_content_is_the_largest_cosine_to_an_item_of_the_history():
    vectors = np.array([[1, 0], [0, 2], [3, 4]], np.float32)
    scores = NearestOfHistory(vectors)(sequences_of([1, 2], [2]))
    assert scores.tolist() == [[0, 1, 1, pytest.approx(0.8)], [0, 0, 1, pytest.approx(0.8)]]


def test_texts_are_whitened_by_the_trained_ones_alone(split):
    trained, texts = split.data.n_items, np.random.default_rng(0).normal(size=(split.n_items, 6)).astype(np.float32)
    texts[trained:] = 3 * texts[trained:] + 2  # new ones lie elsewhere
    inputs = SimpleNamespace(item_embeddings=np.pad(texts[:trained], ((1, 0), (0, 0))))
    ranked = pl.concat(cold._rank_references(split, inputs, texts[trained:], 0.8))
    scores = NearestOfHistory(whiten(texts, power=0.8, of=texts[:trained]))
    expected = pl.concat(cold._rank(split, scores, {"method": cold.WHITENED, "placed": "", "seed": 0}))
    assert ranked.filter(method=cold.WHITENED).equals(expected)


class Fixed(Scores):
    """The same scores (V + 1,) for everybody."""

    def __init__(self, values):
        self.values = values

    def __call__(self, histories):
        return self.values.repeat(len(histories), 1)


def test_ranks_are_among_new_ones_among_negatives_and_among_all(split, monkeypatch):
    monkeypatch.setattr(scoring, "BLOCK_USERS", 1)
    values, trained = torch.zeros(split.n_items + 1), split.data.n_items
    values[1] = 1000.0  # a trained item that stands before all others
    values[trained + 1 :] = torch.arange(split.n_items - trained).float() + 1
    frames = list(cold._rank(split, Fixed(values), {"method": "m"}))
    assert len(frames) == 6
    for half, cases in split.cases.items():
        by = {f["protocol"][0]: f["rank"].to_list() for f in frames if f["half"][0] == half}
        for row, target in enumerate(cases.targets.items):
            had, negatives = set(cases.seen[row].tolist()), cases.targets.negatives[row]
            above = [item for item in range(int(target) + 1, split.n_items + 1) if item not in had]
            assert by["new"][row] == len(above) + 1
            assert by["full"][row] == len(above) + 1 + (1 not in had)
            assert by["sampled"][row] == 1 + sum(negatives > target) + sum(negatives == 1)


def test_the_placement_is_chosen_on_one_half_and_tested_on_the_other():
    rows = [
        {
            "method": method,
            "placed": placed,
            "seed": 0,
            "half": half,
            "protocol": "sampled",
            "user": user,
            "rank": rank,
        }
        for method, placed, half, rank in (
            ("content", "", "validation", 5.0),
            ("content", "", "test", 5.0),
            ("a", "x", "validation", 1.0),
            ("a", "x", "test", 9.0),
            ("a", "y", "validation", 2.0),
            ("a", "y", "test", 1.0),
        )
        for user in range(3)
    ]
    found = cold.measure(pl.DataFrame(rows), "tiny", "sasrec")
    assert found.chosen == {"a": "x", "content": ""}
    (test,) = found.tests.filter(metric="NDCG@10", group="overall").iter_rows(named=True)
    assert (test["method"], test["against"]) == ("a", "content")
    assert test["difference"] == pytest.approx(1 / np.log2(10) - 1 / np.log2(6))


def test_a_placement_is_chosen_among_sampled_negatives():
    ranks = {("x", "sampled"): 1.0, ("x", "full"): 9.0, ("x", "new"): 9.0}
    ranks |= {("y", "sampled"): 2.0, ("y", "full"): 1.0, ("y", "new"): 1.0}
    rows = [
        {"method": method, "placed": placed, "seed": 0, "half": half, "protocol": protocol, "user": user, "rank": rank}
        for (placed, protocol), rank in ranks.items()
        for half in ("validation", "test")
        for user in range(2)
        for method in ("a", "content")
    ]
    assert cold.measure(pl.DataFrame(rows), "tiny", "sasrec").chosen["a"] == "x"


def vector_of(text):
    return np.random.default_rng(crc32(text.encode())).normal(size=24).astype(np.float32)


@pytest.fixture
def fast(tiny, monkeypatch):
    """Settings of the stage with two quick methods, and no language model."""
    monkeypatch.setattr(embed, "identity", lambda settings: settings.embed.encoder)
    monkeypatch.setattr(embed, "encode", lambda texts, settings: np.stack([vector_of(text) for text in texts]))
    return tiny.changed(
        {"cold.methods": ["base", "dualmatch"], "cold.seeds": [42], "train.epochs": 1, "train.workers": 1}
    )


def test_placements_are_tried_by_prior_and_for_popularity_by_count(fast):
    assert list(cold.placements(fast, "base")) == ["neighbours", "zero"]
    tried = cold.placements(fast, "dualmatch")
    assert list(tried) == [f"{prior}, count {count}" for prior in ("neighbours", "zero") for count in (0, 10)]
    assert (tried["zero, count 10"].prior, tried["zero, count 10"].new_count) == ("zero", 10)


@pytest.mark.slow
def test_the_stage_measures_every_placement_and_is_repeatable(fast, data):
    found = cold.run(fast, data)
    written = pl.read_csv(results("tiny", "cold") / "metrics.csv")
    assert written.height == found.metrics.height
    placed = written.select("method", "placed").unique()
    assert set(placed.filter(method="base")["placed"]) == {"neighbours", "zero"}
    assert placed.filter(method="dualmatch").height == 4
    assert set(written["protocol"]) == {"new", "sampled", "full"}
    assert written["value"].is_between(0, 1).all()
    assert cold.run(fast, data).metrics.equals(found.metrics)
    text = report.table(found.metrics, found.chosen, found.tests, "NDCG@10", cold.CONTENT)
    assert text.startswith("NDCG@10 of new items, tiny, SASRec, 1 seed:")
    assert len(text.splitlines()) == 4 + 6  # four references and two methods
    assert len(report.bars(found.metrics, found.chosen, "NDCG@10", cold.CONTENT).axes) == 3


def test_a_table_by_hand():
    """Of two placements the chosen one is shown; the triangle says which way a significant difference goes."""
    columns = ["dataset", "backbone", "method", "placed", "seed", "half", "protocol", "metric", "value"]
    rows = [
        ("tiny", "sasrec", method, placed, seed, "test", protocol, "NDCG@10", value)
        for method, placed, seed, value in (
            ("content", "", 0, 0.2),
            ("base", "zero", 0, 0.1),
            ("base", "zero", 1, 0.3),
            ("base", "neighbours", 0, 0.9),
        )
        for protocol in ("new", "sampled", "full")
    ]
    metrics = pl.DataFrame(rows, schema=columns, orient="row")
    tests = pl.DataFrame(
        {
            "method": ["base"] * 3,
            "against": ["content"] * 3,
            "protocol": ["new", "sampled", "full"],
            "metric": ["NDCG@10"] * 3,
            "difference": [0.1, -0.1, 0.1],
            "significant": [True, True, False],
        }
    )
    text = report.table(metrics, {"content": "", "base": "zero"}, tests, "NDCG@10", "content")
    assert "tiny, SASRec, 2 seeds" in text
    assert text.splitlines()[-2:] == [
        "| Text alone, nearest item | – | **0.200** | **0.200** | **0.200** |",
        "| Base | zero | **0.200** ± 0.141▲ | **0.200** ± 0.141▼ | **0.200** ± 0.141 |",
    ]


def test_the_seed_chooses_the_cold_items(tiny, data):
    chosen = [
        cold_split(data, tiny.changed({"cold.share": 0.25, "cold.seed": seed})).cold_items["item_id"].to_list()
        for seed in (1, 1, 2)
    ]
    assert chosen[0] == chosen[1] != chosen[2]


def test_among_new_items_no_trained_one_competes(split):
    class FirstTheLastTrained(Scores):
        """Put the last trained item before all others."""

        def __call__(self, histories):
            scores = torch.zeros(len(histories), split.n_items + 1)
            scores[:, split.data.n_items] = 1
            return scores

    n, ranked = split.cold_items.height, pl.concat(cold._rank(split, FirstTheLastTrained(), {"method": "m"}))
    among_new = ranked.filter(protocol="new")
    assert among_new.height
    assert among_new["rank"].max() <= 1 + (n - 1) / 2  # all of them tie
    assert ranked.filter(protocol="full")["rank"].min() >= 2  # there the trained one is first
