"""Recommenders to use: they say what evaluation ranks, need nothing but their folder, and take in new items."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from helpers import context_of, sequences_of
from huggingface_hub.errors import LocalEntryNotFoundError
from llmesr import Recommender, embed, recommend
from llmesr.errors import InputError
from llmesr.models.inputs import ItemView
from llmesr.models.matching import MATCHES
from llmesr.models.registry import METHODS
from llmesr.models.scoring import Scorer, rank
from llmesr.recommend import export, hub, new_items
from llmesr.report.plots import recommend as plots
from llmesr.runs.store import TrainedRun

NEW = pl.DataFrame({"item_id": ["new-1", "new-2"], "title": ["Head torch", "Gas cooker"]})


@pytest.fixture(autouse=True)
def encoder(monkeypatch):
    """No language model: its name stands for it."""
    monkeypatch.setattr(embed, "identity", lambda settings: settings.embed.encoder)


@pytest.fixture
def made(run_of, sequences):
    """Make a recommender of an untrained model, whose matches are fitted if it has any."""

    def make(method="dualmatch", backbone="sasrec", changes=None):
        run = run_of(backbone, method, changes, seed=0)
        model = run.build().eval()
        if method == "dualmatch":
            model.on_fit_end(context_of(model, sequences))
        account = {"dataset": "tiny", "backbone": backbone, "method": method, "seed": 0}
        return Recommender.of(run, TrainedRun(model, account, []))

    return make


def history(data, user=3):
    return data.items["item_id"].gather(data.train[user].numpy() - 1).to_list()


@pytest.mark.parametrize("backbone", ["gru4rec", "bert4rec", "sasrec"])
@pytest.mark.parametrize("method", ["base", "llmesr", "dualmatch"])
def test_the_order_is_that_of_evaluation(made, data, sequences, method, backbone):
    recommender = made(method, backbone)
    listed = recommender.recommend(history(data), k=1000)
    had = sequences.take(torch.tensor([3]))
    scorer = Scorer.of(recommender.method, data.n_items, recommender.settings.max_length)
    for place in (0, 7, listed.height - 1):
        item = np.array([recommender.rows[listed["item_id"][place]]])
        assert rank(scorer, had, item, data.n_items, seen=had) == pytest.approx([place + 1])
    assert not set(listed["item_id"]) & set(history(data))
    assert listed.height == data.n_items - len(set(history(data)))


def test_seen_items_come_back_if_one_wants(made, data):
    listed = made().recommend(history(data), k=1000, exclude_seen=False)
    assert listed.height == data.n_items
    assert listed["score"].is_sorted(descending=True)


@pytest.mark.parametrize("method", METHODS)
def test_a_folder_is_all_that_is_needed(made, data, sequences, tmp_path, method):
    recommender = made(method)
    recommender.save(tmp_path / "mine")
    (tmp_path / "artifacts").rename(tmp_path / "gone")
    again = Recommender.load(tmp_path / "mine")
    torch.testing.assert_close(again.scorer(sequences), recommender.scorer(sequences))
    assert again.items.equals(recommender.items)
    assert again.about == recommender.about


@pytest.mark.parametrize("method", ["base", "llmesr", "dualmatch", "unisrec"])
def test_an_explanation_adds_up_to_the_score(made, data, sequences, method):
    recommender = made(method)
    scores = recommender.scorer(sequences.take(torch.tensor([3])))[0, 1:]
    for row in (1, 20):
        why = recommender.explain(history(data), data.items["item_id"][row - 1])
        assert why.score == pytest.approx(float(scores[row - 1] - scores.mean()), abs=1e-4)
        assert sum(map(abs, why.shares.values())) == pytest.approx(1)
    expected = {
        "llmesr": {"semantic", "collaborative"},
        "dualmatch": {"text", "ID", "popularity", *(f"match by {name}" for name in MATCHES)},
    }
    assert set(why.parts) == expected.get(method, {"item"})


def test_the_nearest_past_item_is_the_item_itself_if_it_is_there(made, data):
    past = history(data)
    why = made().explain(past, past[0])
    assert why.nearest["item_id"][0] == past[0]
    assert why.nearest["cosine"][0] == pytest.approx(1)


def test_similar_items_are_nearest_by_embedding_and_not_the_item_itself(made, data, embeddings):
    listed = made().similar_items(data.items["item_id"][4], k=3)
    unit = embeddings.items[1:] / np.linalg.norm(embeddings.items[1:], axis=1, keepdims=True)
    cosines = unit @ unit[4]
    cosines[4] = -2
    assert listed["item_id"].to_list() == data.items["item_id"].gather(np.argsort(-cosines)[:3]).to_list()


@pytest.mark.parametrize("backbone", ["bert4rec", "sasrec"])
@pytest.mark.parametrize("method", ["base", "llmesr", "dualmatch"])
def test_new_items_leave_the_scores_of_the_others_alone(made, data, sequences, method, backbone):
    more_than_items = {"methods.dualmatch.neighbours": 60}  # else new items push others off the lists
    recommender = made(method, backbone, more_than_items)
    more = recommender.add_embedded(NEW, np.ones((2, 24), np.float32))
    before, after = recommender.scorer(sequences), more.scorer(sequences)
    assert after.shape[1] == before.shape[1] + 2
    torch.testing.assert_close(after[:, :-2], before, atol=1e-4, rtol=1e-4)
    assert recommender.items.height == data.n_items


def test_a_new_item_that_reads_like_a_known_one_is_placed_by_text_where_that_one_is(made, embeddings):
    for method, view in (("llmesr", "semantic"), ("dualmatch", "text")):
        more = made(method).add_embedded(NEW[:1], embeddings.items[5:6])
        torch.testing.assert_close(more.views[view][-2], more.views[view][5])


def test_what_text_does_not_give_is_the_mean_of_the_nearest_or_zero(made, embeddings):
    text = embeddings.items[5:6]
    nearest = made("base", changes={"recommend.prior_neighbours": 1}).add_embedded(NEW[:1], text)
    torch.testing.assert_close(nearest.scorer.table[-2], nearest.scorer.table[5])
    zero = made("base", changes={"recommend.prior": "zero"}).add_embedded(NEW[:1], text)
    assert not zero.scorer.table[-2].any()
    own = made(changes={"recommend.prior": "own"}).add_embedded(NEW[:1], text)
    assert not own.views["ID"][-2].any()
    assert made("base", changes={"recommend.prior": "own"}).add_embedded(NEW[:1], text).scorer.table[-2].any()


def test_the_nearest_are_weighted_by_cosine():
    known = np.array([[1, 0], [0, 2], [-1, 0]], np.float32)
    near, weights = new_items.nearest_known(known, np.array([[3, 4]], np.float32), 2)
    assert near.tolist() == [[1, 0]]
    assert weights[0].tolist() == pytest.approx([0.8 / 1.4, 0.6 / 1.4])
    _, three = new_items.nearest_known(known, np.array([[3, 4]], np.float32), 3)
    assert three[0].tolist() == pytest.approx([0.8 / 1.4, 0.6 / 1.4, 0])  # what points away has no say
    _, equal = new_items.nearest_known(known[2:], np.array([[1, 0]], np.float32), 2)
    assert equal.tolist() == [[1.0]]


def test_a_new_item_counts_as_often_as_the_settings_say(made, data, sequences):
    known = made(changes={"recommend.new_count": int(data.items["count"][6])})
    more = known.add_embedded(NEW[:1], np.ones((1, 24), np.float32))
    assert float(more.scorer.method.matcher.popularity[-1]) == pytest.approx(
        float(known.method.matcher.popularity[7]), abs=1e-4
    )


def test_a_history_may_hold_new_items_and_new_items_are_alike_by_text(made, data, embeddings):
    more = made().add_embedded(NEW, embeddings.items[[5, 5]])
    listed = more.recommend(["new-1", *history(data)], k=1000)
    assert "new-1" not in listed["item_id"]
    assert more.similar_items("new-1", 2)["cosine"].to_list() == pytest.approx([1, 1])
    matched = more.scorer.method.matcher.text.nearest(sequences_of([more.rows["new-1"]]))[0]
    assert float(matched[more.rows["new-2"]]) == pytest.approx(1, abs=1e-5)


def test_added_items_are_saved_and_added_to(made, sequences, tmp_path):
    once = made().add_embedded(NEW[:1], np.ones((1, 24), np.float32))
    twice = once.add_embedded(NEW[1:], np.full((1, 24), 2, np.float32))
    at_once = made().add_embedded(NEW, np.array([[1], [2]], np.float32).repeat(24, 1))
    torch.testing.assert_close(twice.scorer(sequences), at_once.scorer(sequences))
    twice.save(tmp_path / "mine")
    torch.testing.assert_close(Recommender.load(tmp_path / "mine").scorer(sequences), twice.scorer(sequences))


def test_texts_of_new_items_are_written_and_encoded_as_the_others_were(made, monkeypatch):
    asked = []

    def encode(texts, settings):
        asked.extend(texts)
        return np.ones((len(texts), 24), np.float32)

    monkeypatch.setattr(embed, "encode", encode)
    more = made().add_items(NEW.with_columns(pl.lit("Nordhut").alias("brand")))
    assert "Head torch" in asked[0]
    assert "brand is Nordhut" in asked[0]
    assert "category is unknown" in asked[0]
    assert more.items.tail(1)["count"].to_list() == [0]
    assert more.items.tail(2)["tail"].to_list() == [True, True]
    assert more.recommend(["p01"], k=1000).filter(item_id="new-1")["tail"].to_list() == [True]


def test_nothing_new_changes_nothing_and_lists_of_attributes_are_joined(made, sequences, monkeypatch):
    monkeypatch.setattr(embed, "encode", lambda texts, settings: np.ones((len(texts), 24), np.float32))
    recommender = made()
    nothing = recommender.add_embedded(NEW[:0], np.ones((0, 24), np.float32))
    torch.testing.assert_close(nothing.scorer(sequences), recommender.scorer(sequences))
    more = recommender.add_items(NEW.with_columns(brand=pl.Series([["Ox", "Elk"], ["Ox"]])))
    assert more.items["brand"].tail(2).to_list() == ["Ox, Elk", "Ox"]


@pytest.mark.parametrize(
    ("items", "what"),
    [
        (NEW.drop("title"), r"the table of new items lacks the column 'title' \(it has item_id\): add it$"),
        (NEW.with_columns(pl.lit(1).alias("colour")), "'colour', which the catalogue"),
        (NEW.with_columns(pl.lit("new").alias("item_id")), "the table of new items, row 1: item id 'new' occurs twice"),
        (NEW.with_columns(item_id=pl.Series(["new-1", " new-1"])), "row 1: item id 'new-1' occurs twice"),
        (NEW.with_columns(item_id=pl.Series(["new-1", None])), "the table of new items, row 2: 'item_id' is empty"),
        (NEW.with_columns(item_id=pl.Series(["new-1", " "])), "the table of new items, row 2: 'item_id' is empty"),
        (NEW.with_columns(item_id=pl.lit(" p01 "))[:1], "'p01' is in the catalogue already"),
        (
            NEW.with_columns(title=pl.Series(["Head torch", " "])),
            "the table of new items, row 2: item 'new-2' has no text",
        ),
        (NEW.with_columns(title=pl.lit(None, pl.String)), "the table of new items, row 1: item 'new-1' has no text"),
        (NEW.with_columns(brand=pl.Series([b"\xff", b"\xfe"])), "the column 'brand' holds bytes, no text"),
        (NEW.to_pandas().assign(colour=1), "'colour', which the catalogue"),
        ("items.csv", "are of the type str: give a polars or pandas DataFrame"),
        (5, "are of the type int"),
    ],
)
def test_new_items_must_fit_in(made, items, what):
    with pytest.raises(InputError, match=what):
        made().add_items(items)


@pytest.mark.parametrize(
    "items",
    [
        NEW,
        NEW.lazy(),
        NEW.to_pandas(),
        NEW.to_dict(as_series=False),
        NEW.to_dicts(),
        NEW.with_columns(brand=pl.Series([[["Ox"], ["Elk"]], [["Ox"]]])),
        NEW.with_columns(brand=pl.Series([{"maker": "Ox"}, {"maker": "Elk"}])),
        NEW.to_pandas().assign(brand=[["Ox", "Elk"], None]),
        NEW.rename({"item_id": "itemId", "title": "name"}),
    ],
)
def test_new_items_may_come_in_any_table(made, monkeypatch, items):
    monkeypatch.setattr(embed, "encode", lambda texts, settings: np.ones((len(texts), 24), np.float32))
    more = made("base").add_items(items)
    assert more.items["item_id"].tail(2).to_list() == ["new-1", "new-2"]
    assert more.items["title"].tail(2).to_list() == ["Head torch", "Gas cooker"]


@pytest.mark.parametrize("k", [0, -1, 2.5, "3", True, None])
def test_a_number_of_items_that_is_none_is_refused(made, data, tmp_path, k):
    recommender = made("base")
    for ask in (
        lambda: recommender.recommend(history(data), k),
        lambda: recommender.similar_items("p01", k),
        lambda: recommender.export(recommend.histories(data), tmp_path / "lists.parquet", k),
    ):
        with pytest.raises(InputError, match=r"k is .*: give a whole number of items"):
            ask()


def test_vectors_of_another_language_model_are_refused(made, monkeypatch):
    recommender = made()
    with pytest.raises(InputError, match="encode anew"):
        recommender.add_embedded(NEW, np.ones((2, 5), np.float32))
    monkeypatch.setattr(embed, "identity", lambda settings: "another")
    with pytest.raises(InputError, match="is not the one of this recommender"):
        recommender.add_items(NEW)


def test_what_is_not_in_the_catalogue_is_an_error_with_a_proposal(made):
    recommender = made()
    with pytest.raises(InputError, match="'p1' is not in the catalogue of 48 items: did you mean 'p"):
        recommender.recommend(["p1"])
    with pytest.raises(InputError, match="history is empty"):
        recommender.recommend([])
    with pytest.raises(InputError, match="not in the catalogue"):
        recommender.explain(["p01"], "p99x")


def test_a_mismatching_folder_is_refused(made, tmp_path):
    with pytest.raises(InputError, match="holds no saved recommender"):
        Recommender.load(tmp_path / "nothing")
    folder = tmp_path / "mine"
    made().save(folder)
    card = json.loads((folder / "card.json").read_text())

    def write(**changes):
        (folder / "card.json").write_text(json.dumps({**card, **changes}))

    def settings(**changes):
        return {**card["settings"], **changes}

    write(format=1)
    with pytest.raises(InputError, match="has the format 1, and this version reads 2: save it anew"):
        Recommender.load(folder)
    write(settings=settings(odd=1))
    with pytest.raises(InputError, match=r"settings that this version does not know \('odd'\)"):
        Recommender.load(folder)
    write(settings=settings(method={"name": "dualmatch", "settings": {"odd": 1}}))
    with pytest.raises(InputError, match=r"settings that this version does not know \('method\.settings\.odd'\)"):
        Recommender.load(folder)
    write(settings=settings(method={"name": "gone", "settings": {}}))
    with pytest.raises(InputError, match="was saved with the method 'gone', which this version does not have"):
        Recommender.load(folder)
    write(settings=settings(method={"name": "llmesr", "settings": {}}))
    with pytest.raises(InputError, match="another version of the method"):
        Recommender.load(folder)
    write(files={})
    with pytest.raises(InputError, match=r"card\.json has no digest of embeddings\.safetensors: save it anew"):
        Recommender.load(folder)
    (folder / "card.json").write_text(json.dumps({"format": 2}))
    with pytest.raises(InputError, match=r"card\.json lacks 'about': save it anew"):
        Recommender.load(folder)
    (folder / "card.json").write_text("{half")
    with pytest.raises(InputError, match=r"card\.json is damaged: save it anew"):
        Recommender.load(folder)
    write()
    (folder / "embeddings.safetensors").write_bytes(b"half")
    with pytest.raises(InputError, match=r"embeddings\.safetensors is missing or is not what card\.json says"):
        Recommender.load(folder)


def test_other_methods_and_keys_that_came_later_leave_a_saved_recommender_readable(made, sequences, tmp_path):
    """Its card holds its own method's settings alone, and what a card lacks has its default."""
    recommender, folder = made(), tmp_path / "mine"
    recommender.save(folder)
    card = json.loads((folder / "card.json").read_text())
    saved = card["settings"]
    assert set(saved) == {"embed", "model", "max_length", "recommend", "backbone", "method"}
    assert (saved["method"]["name"], saved["backbone"]["name"]) == ("dualmatch", "sasrec")
    assert set(saved["method"]["settings"]) == set(METHODS["dualmatch"].Settings.model_fields)
    assert list(saved["embed"]["encoders"]) == [saved["embed"]["encoder"]]
    del saved["method"]["settings"]["exact_up_to"], saved["backbone"]["settings"]["causal"]
    del saved["recommend"]["new_count"], saved["embed"]["batch_tokens"]
    (folder / "card.json").write_text(json.dumps(card))
    torch.testing.assert_close(Recommender.load(folder).scorer(sequences), recommender.scorer(sequences))


def test_further_views_of_items_are_saved_along(run_of, inputs, sequences, tmp_path):
    seen = ItemView.of(np.array([1, 5]), np.ones((2, 3), np.float32), inputs.n_items)
    run = run_of(method="multiview", changes={"methods.multiview.views": ["text", "words"]}, seed=0)
    run = replace(run, inputs=replace(inputs, views={"words": seen}))
    recommender = Recommender.of(run, TrainedRun(run.build().eval(), {"seed": 0}, []))
    recommender.save(tmp_path / "mine")
    torch.testing.assert_close(Recommender.load(tmp_path / "mine").scorer(sequences), recommender.scorer(sequences))


def test_everybodys_lists_are_what_each_is_recommended(made, data, tmp_path):
    recommender, file = made(), tmp_path / "lists.parquet"
    everyone = recommend.histories(data)
    assert recommender.export(everyone, file, k=4) == data.n_users
    listed = pl.read_parquet(file)
    assert listed.columns == ["user_id", "rank", "item_id", "score"]
    for user_id in data.users["user_id"][[0, 9]]:
        past = everyone.filter(user_id=user_id)["item_id"].to_list()
        own = listed.filter(user_id=user_id)
        assert own["item_id"].to_list() == recommender.recommend(past, 4)["item_id"].to_list()
        assert own["rank"].to_list() == [1, 2, 3, 4]


def test_lists_may_be_csv_and_histories_pandas(made, data, tmp_path):
    recommender, everyone = made("base"), recommend.histories(data)
    recommender.export(everyone, tmp_path / "lists.parquet", k=4)
    recommender.export(everyone.to_pandas(), tmp_path / "lists.csv", k=4)
    as_text = pl.read_csv(tmp_path / "lists.csv", schema_overrides={"user_id": pl.String})
    assert as_text.drop("score").rows() == pl.read_parquet(tmp_path / "lists.parquet").drop("score").rows()
    with pytest.raises(InputError, match=r"'lists.xlsx' ends neither in .parquet nor in .csv"):
        recommender.export(everyone, tmp_path / "lists.xlsx")


def test_lists_are_made_of_whole_histories_in_their_order_with_repeats(made, data, tmp_path):
    """Users' rows need not stand together."""
    recommender, file, ids = made("base"), tmp_path / "lists.parquet", data.items["item_id"].to_list()
    pasts = {"again": [*ids[:3], *ids[:2], ids[0]], "once": ids[:3], "long": ids[::-1][:30]}
    rows = [(user, past[place]) for place in range(30) for user, past in pasts.items() if place < len(past)]
    recommender.export(pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row"), file, k=5)
    listed = pl.read_parquet(file)
    for user, past in pasts.items():
        own, alone = listed.filter(user_id=user), recommender.recommend(past, 5)
        assert own["item_id"].to_list() == alone["item_id"].to_list()
        assert own["score"].to_list() == pytest.approx(alone["score"].to_list(), abs=1e-4)
    scores = [listed.filter(user_id=user)["score"].to_list() for user in ("again", "once")]
    assert scores[0] != pytest.approx(scores[1], abs=1e-3)


def test_lists_may_hold_what_was_had(made, data, tmp_path):
    recommender, file, past = made("base"), tmp_path / "lists.parquet", data.items["item_id"].to_list()
    recommender.export(pl.DataFrame({"user_id": "u", "item_id": past}), file, k=3, exclude_seen=False)
    alone = recommender.recommend(past, 3, exclude_seen=False)
    assert pl.read_parquet(file)["item_id"].to_list() == alone["item_id"].to_list()


def test_histories_with_times_may_come_in_any_order(made, data, tmp_path):
    recommender, ids = made(), data.items["item_id"].to_list()
    rows = pl.DataFrame({"user_id": ["u"] * 8, "item_id": ids[:8], "timestamp": range(8)})
    for name, frame in (("in order", rows.drop("timestamp")), ("turned", rows.reverse())):
        recommender.export(frame, tmp_path / f"{name}.csv", k=4)
    assert (tmp_path / "turned.csv").read_text() == (tmp_path / "in order.csv").read_text()


def test_items_that_are_not_known_may_be_skipped(made, tmp_path):
    recommender, file = made(), tmp_path / "lists.parquet"
    rows = pl.DataFrame({"user_id": ["a", "a", "b"], "item_id": ["p01", "new", "new"]})
    with pytest.raises(InputError, match=r"item 'new' is not in the catalogue: add new items by `add_items`, or pass"):
        recommender.export(rows, file)
    assert recommender.export(rows, file, k=3, skip_unknown=True) == 1
    assert pl.read_parquet(file)["item_id"].to_list() == recommender.recommend(["p01"], 3)["item_id"].to_list()


def test_a_single_id_is_no_history(made):
    with pytest.raises(InputError, match=r"a history is a list of item ids"):
        made().recommend("p01")


def test_everybody_may_read_a_saved_recommender_and_it_says_what_it_is(made, tmp_path):
    made().save(tmp_path / "mine")
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "mine").iterdir()} == {0o644}
    assert repr(made("base")) == "Recommender(base on sasrec, tiny, 48 items)"


def test_ids_of_digits_may_be_numbers_in_histories(made, tmp_path):
    recommender = made().add_embedded(NEW.with_columns(item_id=pl.Series(["7", "8"])), np.ones((2, 24), np.float32))
    assert recommender.export(pl.DataFrame({"user_id": [1, 1], "item_id": [7, 8]}), tmp_path / "lists.parquet") == 1


def test_a_user_who_has_had_everything_is_recommended_nothing(made, data, tmp_path):
    recommender, file = made(), tmp_path / "lists.parquet"
    whole = pl.DataFrame({"user_id": "all", "item_id": data.items["item_id"]})
    few = pl.DataFrame({"user_id": "few", "item_id": ["p01"]})
    assert recommender.export(pl.concat([whole, few]), file, k=3) == 2
    assert pl.read_parquet(file)["user_id"].to_list() == ["few"] * 3


def test_bad_histories_are_refused_and_leave_no_file(made, tmp_path):
    recommender, file = made(), tmp_path / "lists.parquet"
    for frame, what in (
        (pl.DataFrame({"item_id": ["p01"]}), "lack the column 'user_id'"),
        (pl.DataFrame({"user_id": ["a"], "item_id": ["p99x"]}), "'p99x' is not in the catalogue"),
        (pl.DataFrame({"user_id": [], "item_id": []}, {"user_id": str, "item_id": str}), "no histories"),
        (pl.DataFrame({"user_id": ["a", None], "item_id": ["p01", "p01"]}), "histories, row 2: 'user_id' is empty"),
        (pl.DataFrame({"user_id": ["a", "b"], "item_id": ["p01", None]}), "histories, row 2: 'item_id' is empty"),
        ([1, 2], "lack the column"),
        ("histories.csv", "are of the type str"),
    ):
        with pytest.raises(InputError, match=what):
            recommender.export(frame, file)
    assert not file.exists()


def test_histories_are_all_that_is_known_but_the_test_item(data):
    listed = recommend.histories(data)
    of_one = listed.filter(user_id=data.users["user_id"][3])["item_id"].to_list()
    last = data.validation.items[list(data.validation.users).index(3)]
    assert of_one == [*history(data), data.items["item_id"][int(last) - 1]]


@pytest.mark.slow
def test_the_stage_trains_and_saves_every_method_and_lists_by_the_first(tiny, data, inputs):
    settings = tiny.changed({"recommend.methods": ["llminit", "base"], "train.epochs": 1, "train.workers": 1})
    first, _ = recommend.run(settings, data, inputs)
    listed = pl.read_parquet(first.parent / "lists.parquet")
    assert listed.group_by("user_id").len()["len"].unique().to_list() == [settings.recommend.k]
    assert Recommender.load(first).about["method"] == "llminit"


def test_a_table_for_people_has_all_rows_and_whole_titles_without_quotes():
    frame = pl.DataFrame({"rank": range(1, 31), "title": ["a|b " + "long " * 40, *map(str, range(29))]})
    head, rule, first, *others = plots.as_table(frame).data.splitlines()
    assert [cell.strip() for cell in head.split("|")] == ["", "rank", "title", ""]
    assert set(rule) == set("|-")
    assert re.fullmatch(r"\| 1 +\| a\\\|b (long ){40} *\|", first)
    assert len(others) == 29
    assert '"' not in "".join(others)


@pytest.mark.parametrize("kept", ["a table that is not saved", "a row for each user"])
def test_a_method_that_is_not_the_same_when_loaded_is_refused_at_saving(made, tmp_path, monkeypatch, kept):
    real = METHODS["base"].__init__

    def init(self, settings, inputs, backbone):
        real(self, settings, inputs, backbone)
        if kept == "a row for each user":
            self.of_users = torch.nn.Embedding(len(inputs.neighbours), 2)
        else:
            self.register_buffer("shift", inputs.pca_table.clone(), persistent=False)

    def item_vectors(self, items):
        return self.table(items) + getattr(self, "shift", self.table.weight)[items]

    monkeypatch.setattr(METHODS["base"], "__init__", init)
    monkeypatch.setattr(METHODS["base"], "item_vectors", item_vectors)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("somebody's own")
    with pytest.raises(InputError, match=r"'base' is not the same when it is loaded again .*persistent buffers"):
        made("base").save(tmp_path / "mine")
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["diary.txt"]


def test_a_method_that_scores_otherwise_is_never_scored_by_products():
    assert METHODS["base"].scores_by_product
    assert not METHODS["dualmatch"].scores_by_product
    own = type("Own", (METHODS["base"],), {"score": lambda self, states, table, histories: -states @ table.T})
    assert not own.scores_by_product


# --- to share ---


@pytest.fixture
def shared(made, tmp_path):
    """A recommender that was saved with its model card, and its folder."""
    recommender = made()
    recommender.about.update({"validation_NDCG@10": 0.25, "best_epoch": 7, "encoder": "minilm"})
    recommender.save_pretrained(tmp_path / "mine")
    return recommender, tmp_path / "mine"


def test_a_model_card_says_what_the_run_was(shared):
    recommender, folder = shared
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: llmesr\n")
    assert "# DualMatch on SASRec, trained on tiny" in card
    assert "| 0.2500 |" in card
    assert f'shop.recommend(["{recommender.items["item_id"][0]}"' in card


def test_what_is_pretrained_comes_from_a_folder_or_from_the_hub(shared, data, monkeypatch):
    recommender, folder = shared
    asked = []
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **keys: asked.append((name, keys)) or str(folder))
    for name, revision in ((folder, None), ("owner/name", "v1")):
        again = Recommender.from_pretrained(name, revision)
        assert again.recommend(history(data), 5).equals(recommender.recommend(history(data), 5))
    ((name, keys),) = asked
    assert (name, keys["revision"]) == ("owner/name", "v1")
    assert "weights.safetensors" in keys["allow_patterns"]


def test_what_cannot_be_fetched_is_told_in_a_sentence(monkeypatch):
    with pytest.raises(InputError, match=r"^a/b/c is no folder, and no name of a repository such as 'owner/name'$"):
        Recommender.from_pretrained("a/b/c")

    def fail(*_, **__):
        raise LocalEntryNotFoundError("nothing here\nand more")

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(InputError, match=r"^owner/name is no folder here, and cannot be fetched .*\(nothing here\)$"):
        Recommender.from_pretrained("owner/name")


def test_it_is_uploaded_with_its_card(shared, monkeypatch):
    recommender, uploaded = shared[0], {}

    class Api:
        def create_repo(self, name, **keys):
            uploaded.update({"name": name, **keys})
            return "https://hub/owner/name"

        def upload_folder(self, *, folder_path, **keys):
            uploaded["files"] = sorted(file.name for file in folder_path.iterdir())

    monkeypatch.setattr(hub, "HfApi", Api)
    assert recommender.push_to_hub("owner/name", private=True) == "https://hub/owner/name"
    assert uploaded["private"]
    assert {"README.md", "card.json", "weights.safetensors"} <= set(uploaded["files"])

    def refuse(*_, **__):
        raise OSError("401")

    monkeypatch.setattr(Api, "create_repo", refuse)
    with pytest.raises(InputError, match=r"^owner/name cannot be uploaded \(401\): sign in with `hf auth login`$"):
        recommender.push_to_hub("owner/name")


def test_tail_items_are_told_as_such(made, data):
    told = dict(made("base").items.select("item_id", "tail").iter_rows())
    assert told == dict(data.items.select("item_id", pl.col("tail") == "tail_item").iter_rows())


def test_the_stage_saves_the_run_of_its_seed(tiny, data, inputs, monkeypatch):
    asked = []
    monkeypatch.setattr(recommend, "matrix_runs", lambda *_, **own: asked.append(own) or [])
    monkeypatch.setattr(recommend.Recommender, "load", lambda _: SimpleNamespace(export=lambda *_: None))
    settings = tiny.changed({"recommend.seed": 43, "recommend.methods": ["base"]})
    with pytest.raises(IndexError):  # there are no runs
        recommend.run(settings, data, inputs)
    assert asked == [{"methods": ("base",), "backbones": ["sasrec"], "seeds": [43]}]


def test_an_item_that_was_had_twice_is_a_reason_once(made, data):
    one, other = history(data)[:2]
    nearest = made().explain([one, other, one], data.items["item_id"][40]).nearest
    assert sorted(nearest["item_id"]) == sorted([one, other])


def test_nobody_is_told_more_items_than_there_are(made, data, tmp_path):
    recommender = made("base")
    assert recommender.similar_items("p01", 1000).height == data.n_items - 1
    scores, items = export.best(recommender.scorer, sequences_of([1, 2], [3]), 1000)
    assert scores.shape == items.shape == (2, data.n_items)
    histories = pl.DataFrame({"user_id": ["u", "u"], "item_id": ["p01", "p02"]})
    recommender.export(histories, tmp_path / "lists.csv", 1000)
    assert pl.read_csv(tmp_path / "lists.csv").height == data.n_items - 2
