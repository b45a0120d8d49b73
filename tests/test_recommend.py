"""Recommenders to use: they say what evaluation ranks, need nothing but their folder, and take in new items."""

import json
import re

import numpy as np
import polars as pl
import pytest
import torch
from conftest import changed, overview, ragged
from llmesr import Recommender, embed, recommend, train
from llmesr.errors import InputError
from llmesr.models.methods import METHODS
from llmesr.models.scoring import full_ranks, item_table, represent, rescorer
from llmesr.recommend import look, newcomers
from llmesr.settings import Settings
from scipy.sparse import csr_matrix

NEW = pl.DataFrame({"item_id": ["new-1", "new-2"], "title": ["Head torch", "Gas cooker"]})


@pytest.fixture(autouse=True)
def encoder(monkeypatch):
    """No language model: its name stands for it."""
    monkeypatch.setattr(embed, "identity", lambda settings: settings.embed.encoder)


@pytest.fixture
def made(tiny, data, embeddings, build, sequences):
    """Make a recommender of an untrained model, whose matches are fitted if it has any."""

    def make(method="dualmatch", backbone="sasrec", **changes):
        settings = changed(tiny, **changes)
        model = build(backbone, method, **changes).eval()
        model.finish(overview(model, sequences)) if method == "dualmatch" else None
        account = {"dataset": "tiny", "backbone": backbone, "method": method, "seed": 0}
        return Recommender.of(settings, data, embeddings.items[1:], train.Run(model, account, []))

    return make


def history(data, user=3):
    return data.items["item_id"].gather(data.train[user] - 1).to_list()


@pytest.mark.parametrize("backbone", ["gru4rec", "bert4rec", "sasrec"])
@pytest.mark.parametrize("method", ["none", "llmesr", "dualmatch"])
def test_the_order_is_that_of_evaluation(made, data, sequences, method, backbone):
    recommender = made(method, backbone)
    listed = recommender.recommend(history(data), k=1000)
    users, model = torch.tensor([3]), recommender.model
    states = represent(model, sequences, users, data.n_items, recommender.settings.model.max_length)
    had = sequences.take(users, len(sequences.items))
    for place in (0, 7, listed.height - 1):
        item = np.array([recommender.rows[listed["item_id"][place]]])
        rank = full_ranks(states, item_table(model, data.n_items), item, had, rescorer(model, had))
        assert rank == pytest.approx([place + 1])
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
    torch.testing.assert_close(again.scores(sequences), recommender.scores(sequences))
    assert again.items.equals(recommender.items)
    assert again.about == recommender.about


@pytest.mark.parametrize("method", ["none", "llmesr", "dualmatch", "unisrec"])
def test_an_explanation_adds_up_to_the_score(made, data, sequences, method):
    recommender = made(method)
    scores = recommender.scores(sequences.take(torch.tensor([3]), 100))[0, 1:]
    for row in (1, 20):
        why = recommender.explain(history(data), data.items["item_id"][row - 1])
        assert why.score == pytest.approx(float(scores[row - 1] - scores.mean()), abs=1e-4)
        assert sum(map(abs, why.shares.values())) == pytest.approx(1)
    expected = {
        "llmesr": {"semantic", "collaborative"},
        "dualmatch": {"text", "ID", "match by text", "match by who has both", "popularity"},
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
@pytest.mark.parametrize("method", ["none", "llmesr", "dualmatch"])
def test_new_items_leave_the_scores_of_the_others_alone(made, data, sequences, method, backbone):
    more_than_items = {"methods__dualmatch__neighbours": 60}  # else new items push others off the lists
    recommender = made(method, backbone, **more_than_items)
    more = recommender.add_embedded(NEW, np.ones((2, 24), np.float32))
    before, after = recommender.scores(sequences), more.scores(sequences)
    assert after.shape[1] == before.shape[1] + 2
    torch.testing.assert_close(after[:, :-2], before, atol=1e-4, rtol=1e-4)
    assert recommender.items.height == data.n_items


def test_a_new_item_that_reads_like_a_known_one_is_placed_by_text_where_that_one_is(made, embeddings):
    for method, view in (("llmesr", "semantic"), ("dualmatch", "text")):
        more = made(method).add_embedded(NEW[:1], embeddings.items[5:6])
        torch.testing.assert_close(more.views[view][-2], more.views[view][5])


def test_what_text_does_not_give_is_the_mean_of_the_nearest_or_zero(made, embeddings):
    text = embeddings.items[5:6]
    nearest = made("none", recommend__prior_neighbours=1).add_embedded(NEW[:1], text)
    torch.testing.assert_close(nearest.table[-2], nearest.table[5])
    zero = made("none", recommend__prior="zero").add_embedded(NEW[:1], text)
    assert not zero.table[-2].any()
    own = made(recommend__prior="own").add_embedded(NEW[:1], text)
    assert not own.views["ID"][-2].any()
    assert made("none", recommend__prior="own").add_embedded(NEW[:1], text).table[-2].any()


def test_the_nearest_are_weighted_by_cosine():
    known = np.array([[1, 0], [0, 2], [-1, 0]], np.float32)
    near, weights = newcomers.nearest_known(known, np.array([[3, 4]], np.float32), 2)
    assert near.tolist() == [[1, 0]]
    assert weights[0].tolist() == pytest.approx([0.8 / 1.4, 0.6 / 1.4])
    _, equal = newcomers.nearest_known(known[2:], np.array([[1, 0]], np.float32), 2)
    assert equal.tolist() == [[1.0]]


def test_a_new_item_counts_as_often_as_the_settings_say(made, data, sequences):
    known = made(recommend__new_count=int(data.items["count"][6]))
    more = known.add_embedded(NEW[:1], np.ones((1, 24), np.float32))
    assert float(more.matcher.popularity[-1]) == pytest.approx(float(known.matcher.popularity[7]), abs=1e-4)


def test_a_history_may_hold_new_items_and_new_items_are_alike_by_text(made, data, embeddings):
    more = made().add_embedded(NEW, embeddings.items[[5, 5]])
    listed = more.recommend(["new-1", *history(data)], k=1000)
    assert "new-1" not in listed["item_id"]
    assert more.similar_items("new-1", 2)["cosine"].to_list() == pytest.approx([1, 1])
    matched = more.matcher.text.pooled(ragged([more.rows["new-1"]]), "amax")[0]
    assert float(matched[more.rows["new-2"]]) == pytest.approx(1, abs=1e-5)


def test_added_items_are_saved_and_added_to(made, sequences, tmp_path):
    once = made().add_embedded(NEW[:1], np.ones((1, 24), np.float32))
    twice = once.add_embedded(NEW[1:], np.full((1, 24), 2, np.float32))
    at_once = made().add_embedded(NEW, np.array([[1], [2]], np.float32).repeat(24, 1))
    torch.testing.assert_close(twice.scores(sequences), at_once.scores(sequences))
    twice.save(tmp_path / "mine")
    torch.testing.assert_close(Recommender.load(tmp_path / "mine").scores(sequences), twice.scores(sequences))


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


def test_nothing_new_changes_nothing_and_lists_of_attributes_are_joined(made, monkeypatch):
    monkeypatch.setattr(embed, "encode", lambda texts, settings: np.ones((len(texts), 24), np.float32))
    recommender = made()
    assert recommender.add_embedded(NEW[:0], np.ones((0, 24), np.float32)) is recommender
    assert recommender.matcher.grown(csr_matrix((49, 49), dtype=np.float32), torch.zeros(0)).is_fitted
    more = recommender.add_items(NEW.with_columns(brand=pl.Series([["Ox", "Elk"], ["Ox"]])))
    assert more.items["brand"].tail(2).to_list() == ["Ox, Elk", "Ox"]


@pytest.mark.parametrize(
    ("items", "what"),
    [
        (NEW.drop("title"), "lack the column 'title'"),
        (NEW.with_columns(pl.lit(1).alias("colour")), "'colour', which the catalogue"),
        (NEW.with_columns(pl.lit("p01").alias("item_id")), "'p01' is in the catalogue already"),
        (NEW.with_columns(pl.lit("new").alias("item_id")), "'new' is in the catalogue already or comes twice"),
    ],
)
def test_new_items_must_fit_in(made, items, what):
    with pytest.raises(InputError, match=what):
        made().add_items(items)


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

    assert set(card["settings"]) == {"embed", "model", "backbones", "methods", "recommend"}  # all that it hangs on

    def write(**changes):
        (folder / "card.json").write_text(json.dumps({**card, **changes}))

    write(format=99)
    with pytest.raises(InputError, match="has the format 99"):
        Recommender.load(folder)
    write(settings={**card["settings"], "odd": 1})
    with pytest.raises(InputError, match=r"settings that this version does not know \('odd'\)"):
        Recommender.load(folder)
    write(about={**card["about"], "method": "llmesr"})
    with pytest.raises(InputError, match="another version of the method"):
        Recommender.load(folder)
    write(files={})
    with pytest.raises(InputError, match=r"card\.json has no digest of items\.parquet: save it anew"):
        Recommender.load(folder)
    (folder / "card.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(InputError, match=r"card\.json lacks 'about': save it anew"):
        Recommender.load(folder)
    (folder / "card.json").write_text("{half")
    with pytest.raises(InputError, match=r"card\.json is damaged: save it anew"):
        Recommender.load(folder)
    write()
    (folder / "texts.safetensors").write_bytes(b"half")
    with pytest.raises(InputError, match=r"texts\.safetensors is missing or is not what card\.json says"):
        Recommender.load(folder)


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
    ):
        with pytest.raises(InputError, match=what):
            recommender.export(frame, file)
    assert not file.exists()


def test_histories_are_all_that_is_known_but_the_test_item(data):
    listed = recommend.histories(data)
    of_one = listed.filter(user_id=data.users["user_id"][3])["item_id"].to_list()
    last = data.validation.items[list(data.validation.users).index(3)]
    assert of_one == [*history(data), data.items["item_id"][int(last) - 1]]


def test_the_stage_saves_every_method_and_lists_by_the_first(tiny: Settings, data, embeddings, similar):
    settings = changed(tiny, recommend__methods=["llminit", "none"], train__epochs=1)
    for method in settings.recommend.methods:
        train.run(settings, data, embeddings, similar, "sasrec", method, 42)
    first, _ = recommend.run(settings, data, embeddings, similar)
    listed = pl.read_parquet(first.parent / "lists.parquet")
    assert listed.group_by("user_id").len()["len"].unique().to_list() == [settings.recommend.k]
    assert Recommender.load(first).about["method"] == "llminit"


def test_a_table_for_people_has_all_rows_and_whole_titles_without_quotes():
    frame = pl.DataFrame({"rank": range(1, 31), "title": ["a|b " + "long " * 40, *map(str, range(29))]})
    head, rule, first, *others = look.table(frame).data.splitlines()
    assert [cell.strip() for cell in head.split("|")] == ["", "rank", "title", ""]
    assert set(rule) == set("|-")
    assert re.fullmatch(r"\| 1 +\| a\\\|b (long ){40} *\|", first)
    assert len(others) == 29
    assert '"' not in "".join(others)
