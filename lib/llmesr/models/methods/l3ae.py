"""L3AE (Moon et al., CIKM 2025): a linear autoencoder of histories that is drawn towards what texts say of items.

No network and no order: a history x of zeros and ones is scored by xB. Both matrices have a closed form. C predicts an
item's text from those of all others; B predicts what a user has from what else the user has, and is kept close to C:

    min ‖X − XB‖² + λ_x ‖B‖² + λ_e ‖B − C‖²,  diag B = 0.

Without texts it is EASE (Steck, WWW 2019). The regularisers are chosen on validation.
"""

from collections.abc import Mapping
from itertools import product
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from llmesr.errors import InputError
from llmesr.metrics import ndcg
from llmesr.models.backbones.base import Backbone
from llmesr.models.base import Method, TrainContext
from llmesr.models.inputs import ModelInputs
from llmesr.section import Section, Several, Weight
from llmesr.sequences import Sequences
from llmesr.similarity import incidence

MOST_ITEMS = 20_000
"""A matrix of all pairs of items is inverted: beyond that it takes hours."""


Weights = Annotated[tuple[Weight, ...], *Several]


class L3AE(Method):
    """An item–item matrix; the backbone has no part in it."""

    name = "l3ae"
    title = "L3AE"
    trains = False

    class Settings(Section):
        """L3AE's own settings."""

        text: bool = True
        """Draw B towards the texts; false is EASE."""
        interaction_weights: Weights = (10.0, 100.0, 1000.0)
        """λ_x, among which validation chooses (L3AE's paper: 1 to 1000)."""
        text_weights: Weights = (1.0, 10.0)
        """λ_f, the regulariser of C, likewise."""
        distillation_weights: Weights = (10.0, 100.0, 1000.0)
        """λ_e, likewise."""

    def __init__(self, settings: "L3AE.Settings", inputs: ModelInputs, backbone: Backbone) -> None:
        super().__init__(settings, inputs, backbone)
        if inputs.n_items > MOST_ITEMS:
            raise InputError(f"L3AE inverts a matrix of all pairs of items, and {inputs.n_items:,} items are too many")
        self.texts = inputs.item_embeddings[1:].astype(np.float64)  # (V, L)
        self.table = nn.Embedding.from_pretrained(torch.zeros(inputs.n_items + 2, 1))  # there are no item vectors
        self.register_buffer("weights", torch.zeros(inputs.n_items + 1, inputs.n_items + 1))  # B

    def states(self, sequences: Sequences, vectors: Tensor) -> Tensor:
        """Leave the backbone out."""
        return vectors

    def score(self, states: Tensor, table: Tensor, histories: Sequences) -> Tensor:
        """Score all items: xB, (B, V + 1)."""
        x = self.weights.new_zeros(len(histories), len(self.weights))
        x[histories.row, histories.items] = 1
        return x @ self.weights

    def on_fit_end(self, context: TrainContext) -> None:
        """Solve for every choice of the regularisers, and keep the one with the best NDCG@10 on validation."""
        x = incidence(context.sequences, len(self.texts))[:, 1:].astype(np.float64)  # (U, V)
        shared = (x.T @ x).toarray()
        histories, targets = context.sequences.take(context.validation_users), context.validation_items
        best = -1.0
        for text_weight in self.settings.text_weights if self.settings.text else (1.0,):
            towards = autoencoder(self.texts @ self.texts.T, text_weight) if self.settings.text else None
            distillation = self.settings.distillation_weights if self.settings.text else (0.0,)
            for own, text in product(self.settings.interaction_weights, distillation):
                found = autoencoder(shared, own, towards, text)
                before = self.weights.clone()
                self.weights[1:, 1:] = torch.from_numpy(found)
                value = self._validate(histories, targets)
                if value > best:
                    best = value
                else:
                    self.weights.copy_(before)

    def _validate(self, histories: Sequences, targets: Tensor) -> float:
        """NDCG@10 of items (n,) among all that their users have not had."""
        scores = self.score(self.weights, self.weights, histories)
        own = scores.gather(1, targets[:, None])
        scores[histories.row, histories.items] = -torch.inf
        scores[:, 0] = -torch.inf
        return float(ndcg(1 + (scores > own).sum(1).double().cpu().numpy(), 10).mean())

    def contributions(self, state: Tensor, views: Mapping[str, Tensor], history: Sequences) -> dict[str, Tensor]:
        """Name the only part of a score, (V + 1,)."""
        return {"other items": self.score(state, state, history)[0]}


def autoencoder(gram: np.ndarray, weight: float, towards: np.ndarray | None = None, pull: float = 0.0) -> np.ndarray:
    """Minimise ‖X − XB‖² + weight ‖B‖² + pull ‖B − towards‖² with a zero diagonal: B (V, V).

    Args:
        gram: (V, V) XᵀX.
        weight: λ.
        towards: (V, V) with a zero diagonal.
        pull: the weight of the distance to it.
    """
    inverse = np.linalg.inv(gram + (weight + pull) * np.eye(len(gram)))
    free = np.eye(len(gram)) if towards is None else np.eye(len(gram)) + pull * inverse @ towards
    # without the constraint the solution is free - (weight + pull) · inverse; multipliers bring its diagonal to zero
    found = free - inverse * (np.diag(free) / np.diag(inverse))
    np.fill_diagonal(found, 0)
    return found
