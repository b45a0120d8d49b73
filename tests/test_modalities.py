"""Views of items beside their text: what each maker knows, what it says of bad files; what is missing stays so."""

import shutil

import numpy as np
import polars as pl
import pytest
import soundfile
import torch
from conftest import changed
from llmesr import embed, modalities
from llmesr.embed import View
from llmesr.errors import InputError
from llmesr.modalities import audio, community, image, knowledge, look, made_up
from PIL import Image
from transformers import ViTConfig, ViTModel

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}

WIDTHS = {"transe": 1, "distmult": 1, "complex": 2, "rotate": 2}


@pytest.fixture
def folder(root, data):
    """Made-up pictures, sounds and models below the temporary root."""
    made_up.write(root / "made-up", data, "category")
    return root / "made-up"


@pytest.fixture
def own(tiny, folder):
    """Settings whose pictures and sounds lie there."""
    raw = tiny.model_dump(by_alias=True)
    for kind, model in (("image", "clip"), ("audio", "ast")):
        part = "images" if kind == "image" else "audio"
        raw["modalities"]["sources"][kind] |= {"folder": str(folder / part), "model": str(folder / model)}
    return type(tiny).model_validate(raw)


@pytest.fixture
def triples(tmp_path):
    """Write a knowledge graph and return its folder."""

    def write(content, links=None):
        place = tmp_path / "graph"
        place.mkdir(exist_ok=True)
        (place / "triples.csv").write_text(content)
        if links is not None:
            (place / "links.csv").write_text(links)
        return place

    return write


ITEMS = pl.DataFrame(
    {"item_id": ["a", "b", "c"], "title": ["Heat", "Ran", "Big Night, The"], "year": ["1995", "1985", "1996"]}
)


def test_every_view_is_finite_and_zero_where_it_knows_nothing(own, data, monkeypatch):
    texts = iter(np.random.default_rng(0).normal(size=(10_000, 7)).astype(np.float32))
    monkeypatch.setattr(embed, "encode", lambda said, settings: np.stack([next(texts) for _ in said]))
    found = modalities.run(own, data)
    assert list(found) == list(own.modalities.make)
    for name, view in found.items():
        assert view.vectors.shape[0] == len(view.present) == data.n_items + 1
        assert np.isfinite(view.vectors).all()
        assert not view.present[0]
        assert not view.vectors[~view.present].any()
        assert (np.abs(view.vectors[view.present]).sum(1) > 0).all()
        again = modalities.load(data.name, name)
        assert (again.vectors == view.vectors).all()
        assert (again.present == view.present).all()
    assert not found["image"].present[4::4].any()
    assert found["image"].present.sum() == 36
    assert found["words"].present.sum() == data.ugc["item"].n_unique()


@pytest.mark.parametrize("name", ["community", "knowledge", "image"])
def test_the_same_input_gives_the_same_view(own, data, name):
    one, other = (modalities.make(own, data, name) for _ in range(2))
    assert (one.vectors == other.vectors).all()


def test_words_average_over_an_items_texts(own, data, monkeypatch):
    monkeypatch.setattr(
        embed, "encode", lambda said, settings: np.array([[len(text), 1.0] for text in said], np.float32)
    )
    view = modalities.make(own, data, "words")
    item = data.ugc["item"].mode()[0]
    lengths = data.ugc.filter(item=item)["text"].str.len_chars()
    assert view.vectors[item].tolist() == pytest.approx([lengths.mean(), 1.0])


def test_words_tie_users_and_items_and_a_word_of_one_text_ties_nothing(data):
    rows = [(0, 3, "dry"), (1, 5, "dry"), (1, 5, "once")]
    ugc = pl.DataFrame(rows, data.ugc.schema, orient="row")
    few = type(data)(**{**vars(data), "ugc": ugc})
    first, word = few.n_users, few.n_users + few.n_items
    assert community.edges_of_words(few).T.tolist() == [[0, word], [1, word], [first + 2, word], [first + 4, word]]
    none = type(data)(**{**vars(data), "ugc": ugc.clear()})
    assert community.edges_of_words(none).shape == (2, 0)


def test_the_community_brings_items_together_that_people_have_together(own, data):
    settings = changed(own, **{"modalities__sources__neighbourhood__epochs": 200})
    view = modalities.make(settings, data, "neighbourhood")
    unit = view.vectors / np.linalg.norm(view.vectors, axis=1, keepdims=True).clip(min=1e-9)
    kinds = np.array(["", *data.items["category"]])
    cosine = unit @ unit.T
    alike = kinds[:, None] == kinds
    known = view.present[:, None] & view.present & ~np.eye(len(kinds), dtype=bool)
    assert cosine[alike & known].mean() > cosine[~alike & known].mean() + 0.2
    with pytest.raises(InputError, match="wants users' words and there are none"):
        modalities.make(settings, type(data)(**{**vars(data), "ugc": data.ugc.clear()}), "community")


@pytest.mark.parametrize("model", WIDTHS)
def test_every_graph_model_learns_what_things_have_in_common(own, data, model):
    change = {f"modalities__sources__knowledge__{key}": value for key, value in (("model", model), ("epochs", 150))}
    settings = changed(own, **change, modalities__sources__knowledge__batch_size=32)
    view = modalities.make(settings, data, "knowledge")
    width = settings.modalities.sources["knowledge"].dimensions
    assert view.vectors.shape[1] == width * WIDTHS[model]
    centred = (view.vectors - view.vectors[view.present].mean(0)) * view.present[:, None]
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True).clip(min=1e-9)
    facts = np.array([("", "", ""), *data.items.select("brand", "category", "grade").rows()])
    common = (facts[:, None] == facts).sum(-1)
    known = view.present[:, None] & view.present & ~np.eye(len(facts), dtype=bool)
    cosine = unit @ unit.T
    assert cosine[(common >= 2) & known].mean() > cosine[(common == 0) & known].mean() + 0.1


def test_items_that_the_graph_does_not_know_are_missing_and_links_rename(triples):
    graph = "head,relation,tail\na,by,x\nb,by,y\n"
    assert knowledge.read(triples(graph), ITEMS)[1].rows() == [("a", "a"), ("b", "b")]
    links = "item_id,entity\na,y\nc,x\n"
    assert knowledge.read(triples(graph, links), ITEMS)[1].rows() == [("a", "y"), ("c", "x")]


def test_a_shuffled_graph_gives_items_to_each_other(own, data):
    raw = own.model_dump(by_alias=True)
    raw["modalities"]["sources"]["control"] = raw["modalities"]["sources"]["knowledge"] | {"shuffled": True}
    settings = type(own).model_validate(raw)
    real, control = (modalities.make(settings, data, name) for name in ("knowledge", "control"))
    assert (real.present == control.present).all()
    assert sorted(real.vectors.sum(1)) == pytest.approx(sorted(control.vectors.sum(1)))
    assert (real.vectors != control.vectors).any(1).sum() > 30


def test_films_of_another_release_are_found_by_title_and_year(triples, tmp_path):
    folder = triples("head,relation,tail\nm1,by,x\nm2,by,y\nm3,by,z\n")
    (folder / "triples.csv").rename(folder / "ml-100k.kg")
    graph = (folder / "ml-100k.kg").read_text().replace(",", "\t")
    (folder / "ml-100k.kg").write_text(graph)
    (folder / "ml-100k.link").write_text("item_id:token\tentity_id:token\n7\tm1\n8\tm2\n9\tm3\n")
    with pytest.raises(InputError, match="numbers films as MovieLens-1M and later releases do"):
        knowledge.read(folder, ITEMS)
    titles = tmp_path / "movies.csv"
    films = ["7,Ran (1985),Drama", '8,"Big Night, The (La grande) (1996)",Drama', "9,Heat (1986),Crime"]
    titles.write_text("\n".join(["movieId,title,genres", *films]))
    assert knowledge.read(folder, ITEMS, titles)[1].rows() == [("b", "m1"), ("c", "m2")]  # another Heat
    with pytest.raises(InputError, match="the items have no 'year'"):
        knowledge.read(folder, ITEMS.drop("year"), titles)
    titles.write_text("movieId,title,genres\n7,Alien (1979),Horror\n")
    with pytest.raises(InputError, match="none of the items' titles"):
        knowledge.read(folder, ITEMS, titles)
    with pytest.raises(InputError, match="is called neither"):
        knowledge.read(folder, ITEMS, titles.rename(tmp_path / "films.csv"))
    with pytest.raises(InputError, match="is missing: name movies"):
        knowledge.read(folder, ITEMS, titles)


@pytest.mark.parametrize(
    ("graph", "links", "message"),
    [
        ("head,relation\na,by\n", None, "triples.csv lacks the column 'tail'"),
        ("head,relation,tail\na,by,x\nb,,y\n", None, "triples.csv, line 3: 'relation' is empty"),
        ("head,relation,tail\na,by,x,z\n", None, "triples.csv cannot be read"),
        ("head,relation,tail\n", None, "triples.csv holds no triple"),
        (
            "head,relation,tail\na,by,x\n",
            "item_id,entity\na,x\nb,nobody\n",
            r"links.csv, line 3: entity 'nobody' of item 'b'",
        ),
    ],
)
def test_bad_triples_are_named(triples, graph, links, message):
    with pytest.raises(InputError, match=message):
        knowledge.read(triples(graph, links), ITEMS)


def test_missing_triples_are_named(tmp_path):
    with pytest.raises(InputError, match=r"has no triples\.csv"):
        knowledge.read(tmp_path, ITEMS)


def test_bad_pictures_are_named(own, data, folder):
    broken = folder / "images" / f"{data.items['item_id'][0]}.png"
    assert image.read(broken).size == (32, 32)
    broken.write_text("no picture")
    with pytest.raises(InputError, match=r"p01.png cannot be read as a picture"):
        modalities.make(own, data, "image")
    whole = (folder / "images" / f"{data.items['item_id'][1]}.png").read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"p01.png cannot be read as a picture"):
        image.read(broken)
    grey = folder / "images" / "grey.png"
    Image.new("L", (5, 9)).save(grey)
    assert image.read(grey).mode == "RGB"


def test_bad_sounds_are_named(own, data, folder):
    broken = folder / "audio" / f"{data.items['item_id'][0]}.wav"
    soundfile.write(broken, np.zeros((80, 2)), 8000)
    with pytest.raises(InputError, match=r"p01.wav has 8000 samples a second, and the model reads 16000: resample it"):
        modalities.make(own, data, "audio")
    assert audio.read(broken, 8000).shape == (80,)
    soundfile.write(broken, np.zeros(0), 16000)
    with pytest.raises(InputError, match=r"p01.wav is empty"):
        audio.read(broken, 16000)
    broken.write_text("no sound")
    with pytest.raises(InputError, match=r"p01.wav cannot be read as a sound"):
        audio.read(broken, 16000)


def test_missing_folders_and_models_are_named(own, data, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    for kind, wanted in (("image", "CLIP"), ("audio", "AST")):
        key = f"modalities__sources__{kind}__"
        with pytest.raises(InputError, match="nowhere is missing: put a file an item there"):
            modalities.make(changed(own, **{f"{key}folder": str(tmp_path / "nowhere")}), data, kind)
        with pytest.raises(InputError, match=r"holds no file of an item, such as p01\."):
            modalities.make(changed(own, **{f"{key}folder": str(tmp_path / "empty")}), data, kind)
        with pytest.raises(InputError, match=f"cannot be loaded .*: name an? {wanted} model"):
            modalities.make(changed(own, **{f"{key}model": "nobody/nothing"}), data, kind)


def test_models_of_another_kind_are_named(own, data, folder):
    for kind, other, lacks in (("image", "ast", "a CLIP model"), ("audio", "clip", "an AST model")):
        with pytest.raises(InputError, match=lacks):
            modalities.make(changed(own, **{f"modalities__sources__{kind}__model": str(folder / other)}), data, kind)
    ViTModel(ViTConfig(**SMALL, image_size=32, patch_size=8)).save_pretrained(folder / "vit")
    shutil.copy(folder / "clip" / "preprocessor_config.json", folder / "vit")
    with pytest.raises(InputError, match="name a CLIP model"):
        modalities.make(changed(own, modalities__sources__image__model=str(folder / "vit")), data, "image")


def test_a_view_that_was_not_made_or_is_damaged_is_named(own, data, embeddings):
    many = changed(own, methods__multiview__views=["text", "knowledge"])
    with pytest.raises(InputError, match=r"knowledge.safetensors is missing: put 'knowledge' into 'modalities.make'"):
        modalities.attach(many, "multiview", data.name, embeddings)
    made = changed(own, modalities__make=["knowledge"])
    modalities.run(made, data)
    attached = modalities.attach(many, "multiview", data.name, embeddings)
    assert list(attached.views) == ["knowledge"]
    assert modalities.attach(many, "llmesr", data.name, embeddings) is embeddings
    file = modalities.artifact(data.name, "modalities") / "knowledge.safetensors"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(InputError, match="is damaged"):
        modalities.load(data.name, "knowledge")


def test_a_view_that_knows_nothing_is_refused(own, data, monkeypatch):
    monkeypatch.setattr(
        "llmesr.modalities.words.make", lambda *_: View(np.zeros((49, 2), np.float32), np.zeros(49, bool))
    )
    with pytest.raises(InputError, match="'words' has nothing to say of any item"):
        modalities.make(own, data, "words")


def test_settings_name_sources_that_are_not_there(tiny):
    with pytest.raises(ValueError, match="'smell' of 'make' is not among the sources"):
        changed(tiny, modalities__make=["smell"])
    with pytest.raises(ValueError, match="'text' is the view that stage 02 makes"):
        changed(tiny, modalities__sources={"text": {"kind": "words"}}, modalities__make=[])


def test_coverage_by_hand(data):
    present = np.zeros(data.n_items + 1, bool)
    tail = (data.items["tail"] == "tail_item").to_numpy()
    present[1:][~tail] = True
    found = look.coverage({"x": View(np.zeros((data.n_items + 1, 3), np.float32), present)}, data)
    assert found.rows() == [("x", 3, int((~tail).sum()), 0.0, 1.0)]


def test_neighbours_are_empty_where_a_view_does_not_know_the_item(data):
    vectors = np.zeros((data.n_items + 1, 2), np.float32)
    vectors[1:4] = [[1, 0], [0.9, 0.1], [-1, 0]]
    present = vectors.any(1)
    view = View(vectors, present)
    assert look.neighbours({"x": view}, data, 1, 1)["x"].to_list() == [data.titles[2]]
    assert look.neighbours({"x": view}, data, 9, 2)["x"].to_list() == ["–", "–"]


def test_small_models_are_the_same_each_time(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made_up.models(tmp_path / name)
        torch.rand(3)
    for part in ("clip", "ast"):
        one, two = ((tmp_path / name / part / "model.safetensors").read_bytes() for name in ("one", "two"))
        assert one == two
