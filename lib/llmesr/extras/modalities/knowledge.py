"""A knowledge graph of triples (head, relation, tail), embedded by PyTorch Geometric.

`triples.csv` or `.parquet` with `head,relation,tail`, and `links.csv` or `.parquet` with `item_id,entity` for items
that are called otherwise in the graph; without it an entity is an item's id.

Of MovieLens-100K, RecBole's `ml-100k.kg` and `ml-100k.link` are read. Those links number films as MovieLens-1M and
later releases do, not as MovieLens-100K does (RecSysDatasets, issue 130): taken as they are, nearly every film gets the
graph of another one. With `titles`, the list of films of a later release, films are found by title and year.
"""

import re
from pathlib import Path

import numpy as np
import polars as pl
import torch
from tqdm import tqdm

from llmesr.errors import InputError
from llmesr.models.inputs import ItemView
from llmesr.optional import optional
from llmesr.paths import shown
from llmesr.prepare.dataset import Dataset
from llmesr.prepare.sources.movielens import read_films
from llmesr.settings import KnowledgeSource, Settings

with optional("modalities"):
    from torch_geometric.nn import kge

MODELS = {"transe": kge.TransE, "distmult": kge.DistMult, "complex": kge.ComplEx, "rotate": kge.RotatE}
TRIPLE, LINK = ("head", "relation", "tail"), ("item_id", "entity")
WITHOUT = "take the graph out of 'datasets.<name>.modalities'"
"""What to do for a dataset that has no graph."""


def read(folder: Path, items: pl.DataFrame, titles: Path | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read triples (`head`, `relation`, `tail`) and links (`item_id`, `entity`) of a dataset's folder.

    Args:
        folder: of the raw files.
        items: with `item_id`, and `title` and `year` if there are titles to go by.
        titles: `movies.csv` of the MovieLens release that the links' ids belong to, if it is another one.

    Raises:
        InputError: there are no triples, a file lacks a column or a value, a link names an entity of no triple, or the
            links are known to be another release's.
    """
    triples_file = _find(folder, "triples", "*.kg")
    if triples_file is None:
        raise InputError(f"{shown(folder)} has no triples.csv: put the knowledge graph there, or {WITHOUT}")
    triples = _read(triples_file, TRIPLE)
    if triples.is_empty():
        raise InputError(f"{shown(triples_file)} holds no triple: fill it, or {WITHOUT}")
    links_file = _find(folder, "links", "*.link")
    links = _read(links_file, LINK) if links_file else items.select("item_id", pl.col("item_id").alias("entity"))
    if titles is not None:
        links = by_title(links, titles, items)
    elif links_file and links_file.name == "ml-100k.link":
        raise InputError(
            f"{shown(links_file)} numbers films as MovieLens-1M and later releases do: get movies.csv of one of them "
            "(ml-latest-small.zip of GroupLens) and name it as 'titles' of the source, by which films are found"
        )
    entities = pl.concat([triples["head"], triples["tail"]]).unique()
    lost = links.with_row_index("row").filter(~pl.col("entity").is_in(entities.implode()))
    if links_file is None:  # an item that the graph does not know is missing, which is no fault
        return triples, links.filter(pl.col("entity").is_in(entities.implode()))
    if lost.height:
        row = lost.row(0, named=True)
        raise InputError(
            f"{shown(links_file)}, line {row['row'] + 2}: entity '{row['entity']}' of item '{row['item_id']}' is in no "
            f"triple of {triples_file.name}: correct it or delete the line ({lost.height} lines like it)"
        )
    return triples, links


def make(settings: Settings, data: Dataset, source: KnowledgeSource) -> ItemView:
    """Embed the graph: (V + 1, dimensions), or twice as many where a model has complex numbers.

    Raises:
        InputError: the files are missing or at fault.
    """
    titles = settings.folder / source.titles if source.titles else None
    triples, links = read(settings.folder, data.items, titles)
    if source.shuffled:  # each item is taken for another one: a control
        mixed = np.random.default_rng(settings.modalities.seed).permutation(links.height)
        links = links.with_columns(links["entity"][mixed])
    entities = pl.concat([triples["head"], triples["tail"]]).unique().sort()
    relations = triples["relation"].unique().sort()
    head, relation, tail = (
        torch.from_numpy(values.search_sorted(triples[part]).to_numpy().astype(np.int64))
        for part, values in zip(TRIPLE, (entities, relations, entities), strict=True)
    )
    torch.manual_seed(settings.modalities.seed)
    # a step meets few of the entities: only their rows have a gradient
    model = MODELS[source.model](len(entities), len(relations), source.dimensions, sparse=True)
    optimizer = torch.optim.SparseAdam(list(model.parameters()), lr=source.learning_rate)
    for _ in tqdm(range(source.epochs), desc="triples", unit="epoch"):
        for batch in torch.randperm(len(head)).split(source.batch_size):
            optimizer.zero_grad()
            model.loss(head[batch], relation[batch], tail[batch]).backward()
            optimizer.step()
    return _of_items(model, entities, links, data)


def by_title(links: pl.DataFrame, titles: Path, items: pl.DataFrame) -> pl.DataFrame:
    """Turn links of another MovieLens release into links of these items, which have the same title and year.

    Raises:
        InputError: the list of titles is missing or at fault, the items have no year, or none is found.
    """
    if not titles.exists():
        raise InputError(f"{shown(titles)} is missing: name movies.csv of a MovieLens release as 'titles'")
    if "year" not in items.columns:
        raise InputError("key 'titles' of a source is for films, and the items have no 'year': set it to null")
    films = read_films(titles)
    plain = (pl.col("title").map_elements(_plain, return_dtype=pl.String), pl.col("year").cast(pl.String))
    theirs = films.select(pl.col("item_id").alias("their_id"), *plain).unique(["title", "year"], keep="first")
    ours = items.select("item_id", *plain).drop_nulls()
    matched = ours.join(theirs, on=["title", "year"], maintain_order="left").join(
        links.rename({"item_id": "their_id"}), on="their_id", maintain_order="left"
    )
    if matched.is_empty():
        raise InputError(f"{shown(titles)} has none of the items' titles: name the list of another release")
    return matched.select("item_id", "entity")


def _plain(title: str) -> str:
    """Reduce a title to letters and digits; what is in brackets, such as the original title, is left out."""
    return re.sub(r"[^a-z0-9]+", " ", re.sub(r"\(.*?\)", "", title.lower())).strip()


def _of_items(model: kge.KGEModel, entities: pl.Series, links: pl.DataFrame, data: Dataset) -> ItemView:
    """Look up the entities that are items."""
    parts = [getattr(model, name) for name in ("node_emb", "node_emb_im") if hasattr(model, name)]
    vectors = torch.cat([part.weight for part in parts], 1).detach().numpy()
    known = data.items.select("item", "item_id").join(links.unique("item_id", keep="first"), on="item_id")
    rows = entities.search_sorted(known["entity"]).to_numpy()
    return ItemView.of(known["item"].to_numpy(), vectors[rows], data.n_items)


def _find(folder: Path, stem: str, pattern: str) -> Path | None:
    own = [folder / f"{stem}{ending}" for ending in (".csv", ".parquet")]
    return next((file for file in (*own, *sorted(folder.glob(pattern))) if file.exists()), None)


def _read(file: Path, columns: tuple[str, ...]) -> pl.DataFrame:
    """Read a table's columns as text; of RecBole's atomic files, whose headers have other names, the first ones."""
    try:
        if file.suffix == ".parquet":
            frame = pl.read_parquet(file)
        elif file.suffix == ".csv":
            frame = pl.read_csv(file, infer_schema=False)
        else:
            frame = pl.read_csv(file, separator="\t", infer_schema=False, quote_char=None)
            frame = frame.rename(dict(zip(frame.columns, columns, strict=False)))
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{shown(file)} cannot be read ({reason}): correct it") from None
    for column in columns:
        if column not in frame.columns:
            raise InputError(f"{shown(file)} lacks the column '{column}' (it has {', '.join(frame.columns)}): add it")
    frame = frame.select(pl.col(columns).cast(pl.String).str.strip_chars().replace("", None))
    for column in columns:
        if (empty := frame[column].is_null()).any():
            raise InputError(f"{shown(file)}, line {empty.arg_max() + 2}: '{column}' is empty: fill it or delete it")
    return frame.unique(maintain_order=True)
