"""Items that training never saw: nothing of them is left to learn from, and they are ranked as they should be."""

from dataclasses import replace
from zlib import crc32

import numpy as np
import polars as pl
import pytest
import torch
from conftest import changed, ragged
from llmesr import cold, embed
from llmesr.cold import hold_out, nearest_of_history
from llmesr.errors import InputError
from llmesr.models import scoring
from llmesr.paths import results
from safetensors.numpy import save_file


@pytest.fixture
def held(tiny, data):
    return hold_out(data, changed(tiny, cold__share=0.25))


def old_numbers(held, items):
    """What items of the held-out numbering were called before."""
    return held.order[np.asarray(items) - 1] + 1


def test_no_held_out_item_is_left_to_learn_from(held, data):
    trained = held.data.n_items
    assert held.data.train.items.max() <= trained
    assert held.data.validation.items.max() <= trained
    assert held.data.validation.negatives.max() <= trained
    assert held.items["item"].to_list() == list(range(trained + 1, held.n_items + 1))
    assert not set(held.items["item_id"]) & set(held.data.items["item_id"])
    assert held.n_items == data.n_items


def test_what_is_left_is_what_was_there_in_its_order(held, data):
    for own, user_id in enumerate(held.data.users["user_id"]):
        user = data.users["user_id"].to_list().index(user_id)
        kept = [item for item in data.train[user] if item in old_numbers(held, range(1, held.data.n_items + 1))]
        assert old_numbers(held, held.data.train[own]).tolist() == kept
    assert (held.data.train.lengths > 0).all()
    titles = data.items["title"].gather(old_numbers(held, held.data.items["item"]) - 1)
    assert held.data.items["title"].to_list() == titles.to_list()


def test_counts_of_the_items_that_are_left_are_those_of_their_interactions(held):
    counts = np.bincount(held.data.train.items, minlength=held.data.n_items + 1)[1:]
    assert held.data.items["count"].to_list() == counts.tolist()


def test_a_case_asks_for_a_new_item_after_trained_ones(held, data):
    trained, halves = held.data.n_items, [set(cases.targets.items) for cases in held.cases.values()]
    assert not halves[0] & halves[1]
    for cases in held.cases.values():
        assert cases.targets.items.min() > trained
        assert len(set(cases.targets.users)) == len(cases.targets.users)
        for row, user in enumerate(cases.targets.users):
            history = cases.histories.items[cases.histories.row == row].numpy()
            whole = data.train[data.users["user_id"].to_list().index(held.data.users["user_id"][int(user)])]
            target = old_numbers(held, [cases.targets.items[row]])[0]
            asked = data.validation.items[data.validation.users == held_user(data, held, user)]
            before = np.append(whole, asked).tolist()
            before = before[: len(before) - before[::-1].index(target) - 1]
            expected = [item for item in before if item in old_numbers(held, range(1, trained + 1))]
            assert old_numbers(held, history).tolist() == expected
            assert len(history) > 0


def held_user(data, held, user):
    return data.users["user_id"].to_list().index(held.data.users["user_id"][int(user)])


def test_negatives_were_never_touched_and_what_was_had_is_left_out(held, data):
    for cases in held.cases.values():
        for row, user in enumerate(cases.targets.users):
            own = held_user(data, held, user)
            touched = {*data.train[own], *data.validation.items[data.validation.users == own]}
            drawn = cases.targets.negatives[row]
            assert not touched & set(old_numbers(held, drawn[drawn > 0]))
            had = cases.had.items[cases.had.row == row].numpy()
            assert cases.targets.items[row] not in had


def test_too_small_a_share_is_an_error(tiny, data):
    with pytest.raises(InputError, match=r"'cold.share' holds out 0 of 48 items"):
        hold_out(data, changed(tiny, cold__share=0.001))


def test_what_leaves_nothing_to_validate_or_to_ask_for_is_an_error(tiny, data, held):
    def everywhere(item, train):
        items = {"items": np.full_like(data.validation.items, item)}
        found = replace(data, validation=replace(data.validation, **items))
        return replace(found, train=replace(data.train, items=np.full_like(data.train.items, item))) if train else found

    known, new = held.order[[0, -1]] + 1
    settings = changed(tiny, cold__share=0.25)
    with pytest.raises(InputError, match=r"all validation items are among the 12 held out: lower 'cold.share', or"):
        hold_out(everywhere(new, train=False), settings)
    with pytest.raises(InputError, match=r"nobody goes on to one of the 12 items held out: raise 'cold.share'"):
        hold_out(everywhere(known, train=True), settings)


def test_content_is_the_largest_cosine_to_an_item_of_the_history():
    vectors = np.array([[1, 0], [0, 2], [3, 4]], np.float32)
    scores = nearest_of_history(vectors)(ragged([1, 2], [2]))
    assert scores.tolist() == [[0, 1, 1, pytest.approx(0.8)], [0, 0, 1, pytest.approx(0.8)]]


def test_ranks_are_among_new_ones_among_negatives_and_among_all(held, monkeypatch):
    monkeypatch.setattr(scoring, "BLOCK_USERS", 1)
    best = torch.zeros(held.n_items + 1)
    best[held.data.n_items + 1 :] = torch.arange(held.n_items - held.data.n_items).float() + 1
    frames = list(cold._ranked(held, lambda asked: best.repeat(len(asked.lengths), 1), {"method": "m"}))
    assert len(frames) == 6
    for half in cold.HALVES:
        by = {f["protocol"][0]: f["rank"].to_list() for f in frames if f["half"][0] == half}
        cases = held.cases[half]
        for row, target in enumerate(cases.targets.items):
            had = set(cases.had.items[cases.had.row == row].tolist())
            above = [item for item in range(int(target) + 1, held.n_items + 1) if item not in had]
            assert by["new"][row] == by["full"][row] == len(above) + 1
            assert by["sampled100"][row] == 1 + sum(cases.targets.negatives[row] > target)


def test_the_placement_is_chosen_on_one_half_and_tested_on_the_other():
    rows = [
        {
            "method": method,
            "placed": placed,
            "seed": 0,
            "half": half,
            "protocol": "sampled100",
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
    found = cold._measured(pl.DataFrame(rows), "tiny", "sasrec")
    assert found.chosen == {"a": "x", "content": ""}
    (test,) = found.tests.filter(metric="NDCG@10", group="overall").iter_rows(named=True)
    assert (test["method"], test["against"]) == ("a", "content")
    assert test["difference"] == pytest.approx(1 / np.log2(10) - 1 / np.log2(6))


def vector_of(text):
    return np.random.default_rng(crc32(text.encode())).normal(size=24).astype(np.float32)


@pytest.fixture
def made_up(tiny, data, embeddings, monkeypatch):
    """The stage, without a language model and with two quick methods."""
    settings = changed(tiny, cold__methods=["none", "dualmatch"], cold__seeds=[42], train__epochs=1)
    monkeypatch.setattr(embed, "identity", lambda settings: settings.embed.encoder)
    monkeypatch.setattr(embed, "encode", lambda texts, settings: np.stack([vector_of(text) for text in texts]))
    folder = results("tiny").parents[1] / "artifacts" / "tiny" / "embed"
    folder.mkdir(parents=True)
    save_file(
        {name: np.ascontiguousarray(part) for name, part in embeddings.tables.items()},
        folder / "embeddings.safetensors",
    )
    return settings


def test_the_stage_measures_every_placement_and_nothing_of_it_is_chance(made_up, data):
    found = cold.run(made_up, data)
    written = pl.read_csv(results("tiny") / "cold.csv")
    assert written.height == found.metrics.height
    placed = written.select("method", "placed").unique()
    assert set(placed.filter(method="none")["placed"]) == {"neighbours", "zero"}
    assert placed.filter(method="dualmatch").height == 4
    assert written["value"].is_between(0, 1).all()
    assert cold.run(made_up, data).metrics.equals(found.metrics)


def test_what_users_wrote_about_new_items_is_not_told(data, made_up, monkeypatch):
    plain, told = embed.encode, []
    monkeypatch.setattr(embed, "encode", lambda texts, settings: told.extend(texts) or plain(texts, settings))
    template = {f"embed__{who}_ugc_template": "WRITTEN {words} " for who in ("item", "user")}
    settings = changed(made_up, cold__methods=["none"], **template)
    silent, _ = embed.prompts(data, made_up)
    assert any(text.startswith("WRITTEN") for text in embed.prompts(data, settings)[0])
    cold.run(settings, data)
    new = hold_out(data, settings).items["title"].to_list()
    assert {text for text in silent if any(title in text for title in new)} <= set(told)  # encoded anew, and silent
    assert not [text for text in told if "WRITTEN" in text]
