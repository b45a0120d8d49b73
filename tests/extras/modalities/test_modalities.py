"""Views of items beside their text: what each maker knows, what it says of bad files; what is missing stays so."""

import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import soundfile
import torch
from llmesr import embed
from llmesr.errors import InputError
from llmesr.extras import modalities
from llmesr.extras.modalities import audio, image, interaction_graph, knowledge, synthetic
from llmesr.models.inputs import ItemView
from llmesr.paths import artifact, results
from llmesr.report.plots.modalities import neighbours
from PIL import Image
from transformers import ViTConfig, ViTModel

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}

WIDTHS = {"transe": 1, "distmult": 1, "complex": 2, "rotate": 2}


@pytest.fixture
def folder(root, data):
    """Synthetic pictures, sounds and models below the temporary root."""
    folder = artifact("tiny", "synthetic")
    synthetic.write(folder, data, "category")
    return folder


@pytest.fixture
def own(tiny, root):
    """Settings whose pictures and sounds lie there."""
    files = artifact("tiny", "synthetic")
    parts = {"image.folder": "images", "image.model": "clip", "audio.folder": "audio", "audio.model": "ast"}
    return tiny.changed({f"modalities.sources.{key}": str(files / part) for key, part in parts.items()})


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


@pytest.fixture
def random_texts(monkeypatch):
    """Encode texts as random vectors."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(embed, "encode", lambda texts, settings: rng.normal(size=(len(texts), 7)).astype(np.float32))


@pytest.mark.slow
def test_every_view_is_finite_and_zero_where_it_knows_nothing(own, data, random_texts):
    views = modalities.run(own, data)  # it writes the synthetic files, too
    assert tuple(views) == own.data.modalities
    for name, view in views.items():
        assert view.vectors.shape[0] == len(view.present) == data.n_items + 1
        assert np.isfinite(view.vectors).all()
        assert not view.present[0]
        assert not view.vectors[~view.present].any()
        assert (np.abs(view.vectors[view.present]).sum(1) > 0).all()
        again = modalities.load(data.name, name)
        assert (again.vectors == view.vectors).all()
        assert (again.present == view.present).all()
    assert not views["image"].present[4::4].any()
    assert views["image"].present.sum() == 36
    texts = pl.read_parquet(artifact("tiny", "modalities") / "texts.parquet")
    assert views["words"].present.sum() == texts["item"].n_unique()
    coverage = pl.read_parquet(artifact("tiny", "modalities") / "coverage.parquet")
    assert coverage["items"].to_list() == [int(view.present.sum()) for view in views.values()]
    assert pl.read_csv(results("tiny", "modalities") / "coverage.csv").equals(coverage)


def test_a_dataset_that_names_no_view_gets_an_empty_coverage(tiny, data):
    other = replace(data, name="other", texts=data.texts.clear())
    settings = tiny.changed({"dataset": "other"})
    assert modalities.run(settings, other) == {}
    assert pl.read_parquet(artifact("other", "modalities") / "coverage.parquet").is_empty()
    assert not artifact("other", "synthetic").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["interaction_graph_words", "knowledge", "image"])
def test_the_same_input_gives_the_same_view(own, data, folder, name):
    one, other = (modalities.make(own, data, name) for _ in range(2))
    assert (one.vectors == other.vectors).all()


@pytest.mark.slow
def test_words_average_over_an_items_texts(own, data, monkeypatch):
    monkeypatch.setattr(
        embed, "encode", lambda texts, settings: np.array([[len(text), 1.0] for text in texts], np.float32)
    )
    view = modalities.make(own, data, "words")
    texts = modalities.ugc.texts(own, data)
    item = texts["item"].mode()[0]
    lengths = texts.filter(item=item)["text"].str.len_chars()
    assert view.vectors[item].tolist() == pytest.approx([lengths.mean(), 1.0])


def test_words_connect_users_and_items_and_a_word_of_one_text_connects_nothing(data):
    rows = [(0, 3, "dry"), (1, 5, "dry"), (1, 5, "once")]
    texts = pl.DataFrame(rows, data.texts.schema, orient="row")
    first, word = data.n_users, data.n_users + data.n_items
    edges = interaction_graph.edges_of_words(texts, data)
    assert edges.T.tolist() == [[0, word], [1, word], [first + 2, word], [first + 4, word]]
    assert interaction_graph.edges_of_words(texts.clear(), data).shape == (2, 0)


def test_the_interaction_graph_brings_items_together_that_the_same_users_have(own, data):
    settings = own.changed({"modalities.sources.interaction_graph.epochs": 200})
    view = modalities.make(settings, data, "interaction_graph")
    unit = view.vectors / np.linalg.norm(view.vectors, axis=1, keepdims=True).clip(min=1e-9)
    kinds = np.array(["", *data.items["category"]])
    cosine = unit @ unit.T
    alike = kinds[:, None] == kinds
    known = view.present[:, None] & view.present & ~np.eye(len(kinds), dtype=bool)
    assert cosine[alike & known].mean() > cosine[~alike & known].mean() + 0.2


def test_a_graph_with_words_needs_texts(own, data):
    with pytest.raises(InputError, match="wants users' words and there are none: set 'words: false'"):
        modalities.make(own, replace(data, texts=data.texts.clear()), "interaction_graph_words")


@pytest.mark.slow
@pytest.mark.parametrize("model", WIDTHS)
def test_every_graph_model_learns_what_items_have_in_common(own, data, model):
    change = {"model": model, "epochs": 150, "batch_size": 32}
    settings = own.changed({f"modalities.sources.knowledge.{key}": value for key, value in change.items()})
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
    real, control = (modalities.make(own, data, name) for name in ("knowledge", "knowledge_shuffled"))
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
    with pytest.raises(InputError, match=r"has no triples\.csv: .* take the graph out of 'datasets.<name>.modalities'"):
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


@pytest.mark.parametrize(("kind", "wanted"), [("image", "CLIP"), ("audio", "AST")])
def test_missing_folders_and_models_are_named(own, data, folder, tmp_path, monkeypatch, kind, wanted):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    key = f"modalities.sources.{kind}"
    with pytest.raises(InputError, match="nowhere is missing: put a file an item there"):
        modalities.make(own.changed({f"{key}.folder": str(tmp_path / "nowhere")}), data, kind)
    with pytest.raises(InputError, match=r"holds no file of an item, such as p01\."):
        modalities.make(own.changed({f"{key}.folder": str(tmp_path / "empty")}), data, kind)
    with pytest.raises(InputError, match=f"cannot be loaded .*: name an? {wanted} model"):
        modalities.make(own.changed({f"{key}.model": "nobody/nothing"}), data, kind)


def test_models_of_another_kind_are_named(own, data, folder):
    for kind, other, lacks in (("image", "ast", "a CLIP model"), ("audio", "clip", "an AST model")):
        with pytest.raises(InputError, match=lacks):
            modalities.make(own.changed({f"modalities.sources.{kind}.model": str(folder / other)}), data, kind)
    ViTModel(ViTConfig(**SMALL, image_size=32, patch_size=8)).save_pretrained(folder / "vit")
    shutil.copy(folder / "clip" / "preprocessor_config.json", folder / "vit")
    with pytest.raises(InputError, match="name a CLIP model"):
        modalities.make(own.changed({"modalities.sources.image.model": str(folder / "vit")}), data, "image")


def test_a_view_that_was_not_made_or_is_damaged_is_named(own, data):
    many = own.changed({"methods.multiview.views": ["text", "knowledge"]})
    missing = r"knowledge.safetensors is missing: put 'knowledge' into 'datasets.tiny.modalities' and run"
    with pytest.raises(InputError, match=missing):
        modalities.views(many, "multiview")
    modalities.run(own.changed({"data.modalities": ["knowledge"]}), data)
    assert list(modalities.views(many, "multiview")) == ["knowledge"]
    assert modalities.views(own, "multiview") == {}  # text alone
    assert modalities.views(many, "llmesr") == {}
    file = artifact(data.name, "modalities") / "knowledge.safetensors"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(InputError, match="is damaged"):
        modalities.load(data.name, "knowledge")


def test_a_view_that_knows_nothing_is_refused(own, data, monkeypatch):
    nothing = ItemView(np.zeros((49, 2), np.float32), np.zeros(49, bool))
    monkeypatch.setattr("llmesr.extras.modalities.words.make", lambda *_: nothing)
    with pytest.raises(InputError, match=r"'words' knows no item: take it out of 'datasets\.tiny\.modalities'"):
        modalities.make(own, data, "words")


def test_settings_name_sources_that_are_not_there(tiny):
    with pytest.raises(ValueError, match="'smell' is not among the sources"):
        tiny.changed({"data.modalities": ["smell"]})
    with pytest.raises(ValueError, match="'text' is the view that stage 02 makes"):
        tiny.changed({"modalities.sources": {"text": {"kind": "words"}}, "data.modalities": []})


def test_coverage_by_hand(data):
    present = np.zeros(data.n_items + 1, bool)
    tail = (data.items["tail"] == "tail_item").to_numpy()
    present[1:][~tail] = True
    coverage = modalities.coverage({"x": ItemView(np.zeros((data.n_items + 1, 3), np.float32), present)}, data)
    assert coverage.rows() == [("x", 3, int((~tail).sum()), 0.0, 1.0)]
    assert modalities.coverage({}, data).schema == coverage.schema


def test_neighbours_are_empty_where_a_view_does_not_know_the_item(data):
    vectors = np.zeros((data.n_items + 1, 2), np.float32)
    vectors[1:4] = [[1, 0], [0.9, 0.1], [-1, 0]]
    view = ItemView(vectors, vectors.any(1))
    assert neighbours({"x": view}, data, 1, 1)["x"].to_list() == [data.titles[2]]
    assert neighbours({"x": view}, data, 9, 2)["x"].to_list() == ["–", "–"]


def test_small_models_are_the_same_each_time(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        synthetic.models(tmp_path / name)
        torch.rand(3)
    for part in ("clip", "ast"):
        one, two = ((tmp_path / name / part / "model.safetensors").read_bytes() for name in ("one", "two"))
        assert one == two


def test_of_two_links_of_an_item_the_first_one_counts(data):
    entities = pl.Series(["e1", "e2"])
    links = pl.DataFrame({"item_id": ["p01", "p01", "p02"], "entity": ["e2", "e1", "e1"]})
    model = torch.nn.Module()
    model.node_emb = torch.nn.Embedding.from_pretrained(torch.tensor([[1.0], [2.0]]))
    view = knowledge._of_items(model, entities, links, data)
    assert view.vectors[[1, 2], 0].tolist() == [2.0, 1.0]
