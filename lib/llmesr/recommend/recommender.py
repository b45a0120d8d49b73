"""Recommendations to use: a trained run that needs nothing else, asked by the ids that the shop knows."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import torch
from torch import Tensor

from llmesr import embed
from llmesr.embed.prompts import item_prompts
from llmesr.errors import InputError
from llmesr.models.scoring import Scorer, inference, without
from llmesr.paths import replacing
from llmesr.prepare import titles
from llmesr.prepare.dataset import OF_ITEMS
from llmesr.prepare.sources import table, tables
from llmesr.recommend import export, hub, new_items, package
from llmesr.recommend.explain import Explanation
from llmesr.recommend.frames import polars_frame
from llmesr.recommend.package import Package, ServedSettings
from llmesr.runs.store import Run, TrainedRun
from llmesr.sequences import Sequences

PROBED = 8
"""Histories of one item that a saved recommender is checked with."""
SHOWN = ("item_id", "title", "count", "tail")
"""What is told of an item: `count` is its training popularity, `tail` whether it is one of the long tail's."""


class Recommender(Package):
    """A trained method and all that is needed to ask it, with the attributes of a `Package`."""

    @classmethod
    def of(cls, run: Run, trained: TrainedRun) -> "Recommender":
        """Make one of a run and what its training gave."""
        data, inputs = run.data, run.inputs
        items = data.items.drop("item", "group").with_columns(pl.col("tail") == "tail_item")
        about = {**trained.account, "encoder": embed.identity(run.settings)}
        views, texts = dict(inputs.views), inputs.item_embeddings[1:]
        return cls(ServedSettings.of(run), trained.method.eval(), items, texts, views, items.height, about)

    @classmethod
    def load(cls, folder: str | Path) -> "Recommender":
        """Load what `save` wrote; nothing else is needed.

        Raises:
            InputError: the folder is no saved recommender, is damaged, or was written by another format.
        """
        return cls(**vars(package.load(Path(folder))))

    def save(self, folder: str | Path) -> None:
        """Write weights, embeddings, catalogue with what was added, settings and versions, and check that all is there.

        Raises:
            InputError: the folder cannot be written, or what is loaded from it would score otherwise.
        """
        package.save(self, Path(folder))
        probe = Sequences.of_lists([[row] for row in range(1, min(self.trained, PROBED) + 1)])
        try:
            same = torch.allclose(Recommender.load(folder).scorer(probe), self.scorer(probe), rtol=1e-3, atol=1e-3)
            problem = "it scores otherwise"
        except InputError as error:
            same, problem = False, str(error)
        if not same:
            package.remove(Path(folder))
            raise InputError(
                f"the method '{self.settings.method.name}' is not the same when it is loaded again ({problem}): of its "
                "`ModelInputs` only `item_embeddings` and `views` are then the trained ones; keep what else it needs "
                "in parameters or persistent buffers, none of them as long as there are users"
            )

    @classmethod
    def from_pretrained(cls, name: str | Path, revision: str | None = None) -> "Recommender":
        """Load one from a folder or from the Hugging Face hub.

        Args:
            name: a folder that `save` or `save_pretrained` wrote, or a repository such as `owner/name`.
            revision: a branch, tag or commit of the repository.

        Raises:
            InputError: it is not there, cannot be fetched, or is no saved recommender.
        """
        return cls.load(hub.fetch(str(name), revision))

    def save_pretrained(self, folder: str | Path) -> None:
        """Do what `save` does, and write a model card (`README.md`) beside it.

        Raises:
            InputError: as `save`.
        """
        self.save(folder)
        with replacing(Path(folder) / "README.md") as temporary:
            temporary.write_text(hub.model_card(self), encoding="utf-8")

    def push_to_hub(self, name: str, *, private: bool = True) -> str:
        """Put it on the Hugging Face hub with its model card, and return the address. It needs a token.

        The weights of DualMatch and Linear hold the training histories of all users, without their ids. Share those of
        other methods, or keep it private.

        Args:
            name: of the repository, such as `owner/name`.
            private: nobody else sees it.

        Raises:
            InputError: it cannot be uploaded.
        """
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return hub.upload(Path(folder), name, private=private)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Item id → its number in the model, from 1."""
        return {item_id: row for row, item_id in enumerate(self.items["item_id"], start=1)}

    @cached_property
    def views(self) -> dict[str, Tensor]:
        """Name → (V + 2, W), parts of the item vectors; row 0 is the padding's, the last one [MASK]'s."""
        views, known, new = new_items.trained_views(self.method, self.trained), *np.split(self.texts, [self.trained])
        return new_items.extend(self.method, views, known, new, self.settings.recommend) if len(new) else views

    @cached_property
    def scorer(self) -> Scorer:
        """Scores all items of the catalogue for histories of item numbers."""
        method = self.method
        if len(self.texts) > self.trained:
            counts = self.items["count"][: self.trained].to_numpy()
            method = method.with_new_items(self.texts, counts, self.settings.recommend.new_count)
        return Scorer(method, sum(self.views.values()), self.settings.max_length)

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
            InputError: the history is empty, or names an item that is not in the catalogue, or k is no number of items.
        """
        _check_number(k)
        sequences = self._sequences([history])
        scores = without(self.scorer(sequences), sequences if exclude_seen else None)[0]
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
        sequences, past = self._sequences([history]), list(dict.fromkeys(self._row(item) for item in history))
        views, method = {name: table[:-1] for name, table in self.views.items()}, self.scorer.method
        with inference(method):
            parts = method.contributions(self.scorer.states(sequences)[0], views, sequences)
        of_past, explanations = self._unit[[row - 1 for row in past]], []
        for row in map(self._row, items):
            own = {name: float(values[row] - values[1:].mean()) for name, values in parts.items()}
            best = torch.from_numpy(of_past @ self._unit[row - 1]).topk(min(nearest, len(past)))
            rows = torch.tensor(past)[best.indices]
            explanations.append(Explanation(own, self._listed(rows, best.values, "cosine")))
        return explanations

    def similar_items(self, item: str, k: int = 10) -> pl.DataFrame:
        """List the k other items that are nearest by LLM embedding, with their cosine.

        Raises:
            InputError: the item is not in the catalogue, or k is no number of items.
        """
        _check_number(k)
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
            items: a polars or pandas frame with `item_id`, `title`, and any of the catalogue's attributes; a list
                becomes its parts joined by commas.

        Raises:
            InputError: a column is missing or unknown, an id is missing, comes twice or is there already, an item has
                no text, or the language model is not the one that the run was trained with.
        """
        items = _like_the_catalogue(items, self.items)
        chosen = self.settings.embed
        if embed.identity(self.settings.for_encoder) != self.about["encoder"]:
            raise InputError(
                f"the language model '{chosen.encoder}' that is here is not the one of this recommender, and its "
                "vectors would mean something else: restore it, or train anew"
            )
        prompts = item_prompts(items, chosen.item_template, chosen.attribute_characters)
        return self.add_embedded(items, embed.encode(prompts, self.settings.for_encoder))

    def add_embedded(self, items: pl.DataFrame, new: np.ndarray) -> "Recommender":
        """Add items whose LLM embeddings (n, L) are there already, as `add_items` does."""
        items = _like_the_catalogue(items, self.items)
        if new.shape != (items.height, self.texts.shape[1]):
            raise InputError(f"the embeddings are {new.shape}, not {(items.height, self.texts.shape[1])}: encode anew")
        items = pl.concat([self.items, items])
        return replace(self, items=items, texts=np.concatenate([self.texts, new.astype(np.float32)]))

    def export(
        self,
        histories: pl.DataFrame,
        file: str | Path,
        k: int = 10,
        *,
        exclude_seen: bool = True,
        skip_unknown: bool = False,
    ) -> int:
        """Write the top k of many users, block by block: `user_id`, `rank`, `item_id`, `score`.

        Args:
            histories: a polars or pandas frame with `user_id`, `item_id`, and each user's rows in time order, or in any
                order with a sortable `timestamp`.
            file: `.parquet` or `.csv`; is replaced when all is written.
            k: items a user.
            exclude_seen: leave out items of the user's history.
            skip_unknown: pass over items of the histories that are not in the catalogue; who has no other gets no list.

        Returns:
            the number of users.

        Raises:
            InputError: a column or an id is missing, an item is not in the catalogue, k is no number of items, or the
                file has another ending or cannot be written.
        """
        _check_number(k)
        histories = polars_frame(histories, "the histories")
        options = {"exclude_seen": exclude_seen, "skip_unknown": skip_unknown}
        return export.write(self.scorer, self.items["item_id"], histories, Path(file), k, **options)

    def __repr__(self) -> str:
        """Say what it is, without its arrays."""
        about = self.about
        return f"Recommender({about['method']} on {about['backbone']}, {about['dataset']}, {self.items.height:,} items)"

    def _sequences(self, histories: Iterable[Sequence[str]]) -> Sequences:
        histories = list(histories)
        if any(isinstance(history, str) for history in histories):
            raise InputError("a history is a list of item ids, the oldest first, such as ['a', 'b']")
        numbered = [[self._row(item) for item in history] for history in histories]
        if not all(numbered):
            raise InputError("the history is empty: name at least one item, or recommend what is popular")
        return Sequences.of_lists(numbered)

    def _row(self, item: str) -> int:
        """Find an item's number; ids of digits may be given as numbers."""
        item = str(item).strip()
        if item not in self.rows:
            near = get_close_matches(item, self.rows, 1, 0)
            raise InputError(
                f"item {item[:60]!r} is not in the catalogue of {len(self.rows)} items: did you mean {near[0]!r}?"
            )
        return self.rows[item]

    def _cosines(self, row: int) -> Tensor:
        return torch.from_numpy(self._unit @ self._unit[row - 1])

    def _listed(self, rows: Tensor, values: Tensor, called: str) -> pl.DataFrame:
        listed = self.items.select(SHOWN)[(rows - 1).tolist()]
        return listed.with_columns(pl.Series(called, values.tolist())).with_row_index("rank", offset=1)


def _check_number(k: int) -> None:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise InputError(f"k is {k!r}: give a whole number of items, 1 or more")


def _like_the_catalogue(items: pl.DataFrame, catalogue: pl.DataFrame) -> pl.DataFrame:
    """Check new items as the catalogue's were checked, and give them its columns.

    Raises:
        InputError: an id is missing, comes twice or is there already, an item has no text, or a column is unknown.
    """
    attributes = [column for column in catalogue.columns if column not in OF_ITEMS]
    given = polars_frame(items, "the new items")
    given = given.drop([name for name in ("count", "tail") if name in given.columns])
    items = titles.usable(table.checked_items(tables.table_of(given, "the table of new items")))
    if unknown := set(items.columns) - {"item_id", "title", *attributes}:
        raise InputError(
            f"the new items have the column '{min(unknown)}', which the catalogue ({', '.join(attributes)}) has not: "
            "rename it or leave it out"
        )
    if known := sorted(set(items["item_id"]) & set(catalogue["item_id"])):
        raise InputError(f"item {known[0]!r} is in the catalogue already: leave it out")
    cells = [
        (pl.col(column) if column in items.columns else pl.lit(None)).cast(kind).alias(column)
        for column, kind in catalogue.schema.items()
        if column not in ("count", "tail")
    ]
    zero = pl.lit(0).cast(catalogue.schema["count"]).alias("count")
    return items.select(*cells, zero, pl.lit(value=True).alias("tail")).select(catalogue.columns)
