"""Recommendations to use: a trained run that needs nothing else, asked by the ids that the shop knows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from llmesr import embed
from llmesr.embed.prompts import NOT_ATTRIBUTES, item_prompts
from llmesr.errors import InputError
from llmesr.models.matching import Matcher
from llmesr.models.methods import Method
from llmesr.models.ragged import Ragged
from llmesr.models.scoring import scores_of, without
from llmesr.prepare.dataset import Dataset
from llmesr.recommend import export, newcomers, package
from llmesr.recommend.explain import Explanation, contributions
from llmesr.recommend.package import Package
from llmesr.settings import Served, Settings
from llmesr.train import Run

SHOWN = ("item_id", "title", "count", "tail")
"""What is told of an item: `count` is its training popularity, `tail` whether it is one of the long tail's."""


@dataclass(frozen=True)
class Recommender:
    """A trained model and all that is needed to ask it.

    Attributes:
        settings: under which it was trained.
        model: in evaluation mode.
        items: the catalogue: `item_id`, `title`, attributes, `count`, `tail`; row i is item i + 1 of the model.
        texts: (V, L) LLM embeddings of the items.
        views: name → (V + 2, W), parts of the item vectors; row 0 is the padding's, the last [MASK]'s.
        matcher: the method's, if it has one.
        trained: how many of the items were there in training.
        about: `run.json`: dataset, backbone, method, seed, validation metric.
    """

    settings: Settings | Served
    model: Method
    items: pl.DataFrame
    texts: np.ndarray
    views: dict[str, Tensor]
    matcher: Matcher | None
    trained: int
    about: dict

    @classmethod
    def of(cls, settings: Settings, data: Dataset, texts: np.ndarray, run: Run) -> "Recommender":
        """Make one of a trained run.

        Args:
            settings: under which it was trained.
            data: of the same dataset.
            texts: (V, L) LLM embeddings of its items.
            run: the trained run.
        """
        items = data.items.drop("item", "group").with_columns(pl.col("tail") == "tail_item")
        about = {**run.account, "encoder": embed.identity(settings)}
        return cls._whole(Package(settings, run.model, items, texts, items.height, about))

    @classmethod
    def load(cls, folder: str | Path) -> "Recommender":
        """Load what `save` wrote; nothing else is needed.

        Raises:
            InputError: the folder is no saved recommender, is damaged, or was written by another format.
        """
        return cls._whole(package.load(Path(folder)))

    @classmethod
    def _whole(cls, kept: Package) -> "Recommender":
        model, known = kept.model.eval(), slice(kept.trained)
        views = newcomers.views_of(model, kept.trained)
        matcher = getattr(model, "matcher", None)
        items, texts = kept.items[known], kept.texts[known]
        found = cls(kept.settings, model, items, texts, views, matcher, kept.trained, kept.about)
        added = kept.items[kept.trained :]
        return found._with(added, kept.texts[kept.trained :]) if added.height else found

    def save(self, folder: str | Path) -> None:
        """Write weights, embeddings, catalogue with what was added, settings and versions.

        Raises:
            InputError: the folder cannot be written.
        """
        kept = Package(self.settings, self.model, self.items, self.texts, self.trained, self.about)
        package.save(kept, Path(folder))

    @cached_property
    def rows(self) -> dict[str, int]:
        """Item id → its number in the model, from 1."""
        return {item_id: row for row, item_id in enumerate(self.items["item_id"], start=1)}

    @cached_property
    def table(self) -> Tensor:
        """(V + 2, W) item vectors, the views' sum."""
        return sum(self.views.values())

    @cached_property
    def _unit(self) -> np.ndarray:
        """(V, L) LLM embeddings of length one."""
        return self.texts / np.linalg.norm(self.texts, axis=1, keepdims=True).clip(min=1e-12)

    def recommend(self, history: Sequence[str], k: int = 10, *, exclude_seen: bool = True) -> pl.DataFrame:
        """List the k best next items, best first.

        Args:
            history: item ids, oldest first.
            k: fewer if there are not so many.
            exclude_seen: leave out items of the history.

        Returns:
            `rank`, `item_id`, `title`, `count`, `tail`, `score`.

        Raises:
            InputError: the history is empty, or names an item that is not in the catalogue.
        """
        asked = self._sequences([history])
        scores = without(self.scores(asked), asked if exclude_seen else None)[0]
        best = scores.topk(min(k, int(scores.isfinite().sum())))
        return self._listed(best.indices, best.values, "score")

    def explain(self, history: Sequence[str], item: str, nearest: int = 3) -> Explanation:
        """Say what of a score comes from where, beside what the average item gets, and which past items are near.

        Args:
            history: item ids, oldest first.
            item: id of the item that is asked about.
            nearest: how many items of the history are named.

        Raises:
            InputError: the history is empty, or an item is not in the catalogue.
        """
        return self.explain_all(history, [item], nearest)[0]

    def explain_all(self, history: Sequence[str], items: Sequence[str], nearest: int = 3) -> list[Explanation]:
        """Explain several items for one history, as `explain` does each."""
        asked, past = self._sequences([history]), list(dict.fromkeys(self._row(item) for item in history))
        parts = contributions(self.model, self.views, self.matcher, asked, self.settings.model.max_length)
        mine, found = self._unit[[row - 1 for row in past]], []
        for row in map(self._row, items):
            own = {name: float(values[row] - values[1:].mean()) for name, values in parts.items()}
            best = torch.from_numpy(mine @ self._unit[row - 1]).topk(min(nearest, len(past)))
            found.append(Explanation(own, self._listed(torch.tensor(past)[best.indices], best.values, "cosine")))
        return found

    def similar_items(self, item: str, k: int = 10) -> pl.DataFrame:
        """List the k other items that are nearest by LLM embedding, with their cosine.

        Raises:
            InputError: the item is not in the catalogue.
        """
        row = self._row(item)
        cosines = self._cosines(row)
        cosines[row - 1] = -torch.inf
        best = cosines.topk(min(k, len(cosines) - 1))
        return self._listed(best.indices + 1, best.values, "cosine")

    def add_items(self, items: pl.DataFrame) -> "Recommender":
        """Give one that knows further items as well; nothing is trained, this one stays as it is.

        The scores of the other items stay as they were, but for DualMatch's matches by text: of each item so many
        that are alike are kept, and a new one may take the place of the last.

        The texts are encoded by the language model of the settings, which must be there.

        Args:
            items: `item_id`, `title`, and any of the catalogue's attributes; a list becomes its parts joined by commas.

        Raises:
            InputError: a column is missing or unknown, an id is there already, or the language model is not the one
                that the run was trained with.
        """
        items = _like_the_catalogue(items, self.items)
        chosen = self.settings.embed
        if embed.identity(self.settings) != self.about["encoder"]:
            raise InputError(
                f"the language model '{chosen.encoder}' that is here is not the one of this recommender, and its "
                "vectors would mean something else: restore it, or train anew"
            )
        new = embed.encode(item_prompts(items, chosen.item_template, chosen.attribute_characters), self.settings)
        return self.add_embedded(items, new)

    def add_embedded(self, items: pl.DataFrame, new: np.ndarray) -> "Recommender":
        """Add items whose LLM embeddings (n, L) are there already, as `add_items` does."""
        if new.shape != (items.height, self.texts.shape[1]):
            raise InputError(f"the embeddings are {new.shape}, not {(items.height, self.texts.shape[1])}: encode anew")
        return self._with(_like_the_catalogue(items, self.items), new.astype(np.float32))

    def _with(self, items: pl.DataFrame, new: np.ndarray) -> "Recommender":
        if not items.height:
            return self
        texts, matcher = np.concatenate([self.texts, new]), getattr(self.model, "matcher", None)
        if matcher is not None and matcher.is_fitted:
            counts = self.items["count"][: self.trained].to_numpy()
            matcher = newcomers.grow(matcher, self.model, texts, counts, self.settings)
        trained = newcomers.views_of(self.model, self.trained)
        placed = newcomers.place(self.model, trained, texts[: self.trained], texts[self.trained :], self.settings)
        return replace(self, items=pl.concat([self.items, items]), texts=texts, views=placed, matcher=matcher)

    def export(self, histories: pl.DataFrame, file: str | Path, k: int = 10) -> int:
        """Write the top k of many users to parquet, block by block: `user_id`, `rank`, `item_id`, `score`.

        Args:
            histories: `user_id`, `item_id`, each user's rows in time order.
            file: is replaced when all is written.
            k: items a user.

        Returns:
            the number of users.

        Raises:
            InputError: a column is missing, an item is not in the catalogue, or the file cannot be written.
        """
        return export.write(self, histories, Path(file), k)

    @torch.no_grad()
    def scores(self, histories: Ragged) -> Tensor:
        """Score all items for B histories of item numbers: (B, V + 1)."""
        return scores_of(self.model, self.table, self.matcher, histories, self.settings.model.max_length)

    def _sequences(self, histories: Iterable[Sequence[str]]) -> Ragged:
        numbered = [[self._row(item) for item in history] for history in histories]
        if not all(numbered):
            raise InputError("the history is empty: name at least one item, or recommend what is popular")
        return Ragged.of(np.concatenate(numbered), [len(history) for history in numbered])

    def _row(self, item: str) -> int:
        if item not in self.rows:
            near = get_close_matches(str(item), self.rows, 1, 0)
            raise InputError(
                f"item {item!r} is not in the catalogue of {len(self.rows)} items: did you mean {near[0]!r}?"
            )
        return self.rows[item]

    def _cosines(self, row: int) -> Tensor:
        return torch.from_numpy(self._unit @ self._unit[row - 1])

    def _listed(self, rows: Tensor, values: Tensor, called: str) -> pl.DataFrame:
        found = self.items.select(SHOWN)[(rows - 1).tolist()]
        return found.with_columns(pl.Series(called, values.tolist())).with_row_index("rank", offset=1)


def _like_the_catalogue(items: pl.DataFrame, catalogue: pl.DataFrame) -> pl.DataFrame:
    """Give new items the catalogue's columns.

    Raises:
        InputError: they do not fit in.
    """
    attributes = [column for column in catalogue.columns if column not in NOT_ATTRIBUTES]
    lists = [name for name, kind in items.schema.items() if isinstance(kind, pl.List)]  # as the table format reads them
    items = items.with_columns(pl.col(name).cast(pl.List(pl.String)).list.join(", ") for name in lists)
    if lacking := {"item_id", "title"} - set(items.columns):
        raise InputError(f"the new items lack the column '{min(lacking)}': add it")
    if unknown := set(items.columns) - {*SHOWN, *attributes}:
        raise InputError(
            f"the new items have the column '{min(unknown)}', which the catalogue ({', '.join(attributes)}) has not: "
            "rename it or leave it out"
        )
    ids = items["item_id"].cast(pl.String)
    if known := sorted(set(ids) & set(catalogue["item_id"])) or ids.filter(ids.is_duplicated()).to_list():
        raise InputError(f"item {known[0]!r} is in the catalogue already or comes twice: leave it out")
    cells = [
        (pl.col(column) if column in items.columns else pl.lit(None)).cast(kind).alias(column)
        for column, kind in catalogue.schema.items()
        if column not in ("count", "tail")
    ]
    zero = pl.lit(0).cast(catalogue.schema["count"]).alias("count")
    return items.select(*cells, zero, pl.lit(value=True).alias("tail")).select(catalogue.columns)
