"""What is left of accuracy when modalities go missing: trained views are hidden from a share of the items."""

import numpy as np
import polars as pl
import torch
from torch import Tensor

from llmesr import retrieve, train
from llmesr.devices import pick_device
from llmesr.models.fusion import Views
from llmesr.models.methods import Method
from llmesr.models.ragged import Ragged
from llmesr.models.scoring import represent
from llmesr.prepare.dataset import Dataset
from llmesr.settings import Settings
from llmesr.study import changed, vectors_of
from llmesr.train.loop import Task, validate
from llmesr.train.team import Team


def load_variant(settings: Settings, data: Dataset, variant: str, seed: int) -> train.Run:
    """Load a run of a variant that fuses views, with its views attached.

    Raises:
        InputError: it has not run, or its views were not made.
    """
    own = changed(settings, variant)
    method = settings.study.variants[variant].method
    vectors = vectors_of(settings, own, data, method)
    return train.load(own, vectors, retrieve.load(data.name), settings.study.backbone, method, seed, variant=variant)


@torch.no_grad()
def state_of(model: Method, history: Tensor, n_items: int, max_length: int) -> Tensor:
    """Read the latest T items of a history (n,) as at inference: the state (W,)."""
    sequences = Ragged.of(history.numpy(), [len(history)])
    return represent(model, sequences, torch.zeros(1, dtype=torch.int64), n_items, max_length)[0]


def hide(table: Views, hidden: tuple[str, ...], share: float, seed: int) -> None:
    """Hide views from a random share of the items that have them, the same items whatever the views.

    Args:
        table: of a model; it is changed.
        hidden: names of the views.
        share: from 0 to 1; a greater share hides from the same items and more.
        seed: of the chance.
    """
    lottery = torch.from_numpy(np.random.default_rng(seed).random(len(table.present)))
    for place, name in enumerate(table.names):
        if name in hidden:
            table.present[:, place] &= lottery >= share


def run(settings: Settings, data: Dataset, variants: tuple[str, ...], shares: tuple[float, ...]) -> pl.DataFrame:
    """Validate trained variants with every view but the ID hidden from a share of the items, one view at a time.

    Returns:
        `variant, seed, hidden, share, metric, value`, on validation items against their negatives.

    Raises:
        InputError: a variant has not run.
    """
    team = Team(pick_device("cpu"))
    sequences = Ragged.of(data.train.items, data.train.lengths)
    rows = []
    for variant in variants:
        latest = changed(settings, variant).model.max_length
        task = Task(sequences, data.n_items, latest, lambda _: data.validation)
        for seed in settings.study.seeds:
            model = load_variant(settings, data, variant, seed).model
            whole = model.table.present.clone()
            for hidden in model.table.names:
                for share in shares:
                    model.table.present.copy_(whole)
                    hide(model.table, (hidden,), share, seed)
                    for metric, value in validate(model, task, team).items():
                        rows.append((variant, seed, hidden, share, metric, value))
    return pl.DataFrame(rows, ["variant", "seed", "hidden", "share", "metric", "value"], orient="row")
