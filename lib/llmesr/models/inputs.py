"""The data that a model is built from, and item tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad


@dataclass(frozen=True)
class ItemView:
    """What one modality knows of items.

    Attributes:
        vectors: (V + 1, L) of each item id; row 0, the padding's, and rows of items that it does not know are zero.
        present: (V + 1,) which items it knows.
    """

    vectors: np.ndarray
    present: np.ndarray

    @classmethod
    def of(cls, items: np.ndarray, vectors: np.ndarray, n_items: int) -> "ItemView":
        """Make a view of the vectors (n, L) of some items (n,), distinct ids from 1 to V."""
        view = cls(np.zeros((n_items + 1, vectors.shape[1]), np.float32), np.zeros(n_items + 1, bool))
        view.vectors[items], view.present[items] = vectors, True
        return view


@dataclass(frozen=True)
class ModelInputs:
    """The data that a model is built from.

    Item tables of models have V + 2 rows: 0 is padding, V + 1 is BERT4Rec's [MASK], which starts at zero.

    Attributes:
        item_embeddings: (V + 1, L) LLM embedding of each item id; row 0 is zero.
        item_pca: (V + 1, D) their PCA.
        user_embeddings: (U, L) LLM embedding of each user's training history.
        neighbours: (U, N) similar users.
        views: by name, what further modalities know of items.
    """

    item_embeddings: np.ndarray
    item_pca: np.ndarray
    user_embeddings: np.ndarray
    neighbours: np.ndarray
    views: Mapping[str, ItemView] = field(default_factory=dict)

    @property
    def n_items(self) -> int:
        """V."""
        return len(self.item_embeddings) - 1

    @property
    def hidden(self) -> int:
        """Width D of a trained item table."""
        return self.item_pca.shape[1]

    @cached_property
    def semantic_table(self) -> Tensor:
        """E_se with the row of [MASK]: (V + 2, L)."""
        return pad(torch.as_tensor(self.item_embeddings), (0, 0, 0, 1))

    @cached_property
    def pca_table(self) -> Tensor:
        """PCA of E_se with the row of [MASK]: (V + 2, D)."""
        return pad(torch.as_tensor(self.item_pca), (0, 0, 0, 1))

    @property
    def arrays(self) -> list[np.ndarray]:
        """All of them, for a run's fingerprint."""
        views = [part for name in sorted(self.views) for part in (self.views[name].vectors, self.views[name].present)]
        return [self.item_embeddings, self.item_pca, self.user_embeddings, self.neighbours, *views]


def item_table(rows: np.ndarray) -> Tensor:
    """Put the zero rows of padding and of [MASK] around those of items 1 … V: (V + 2, …) float32."""
    return pad(torch.as_tensor(rows, dtype=torch.float32), (0, 0, 1, 1))


def random_table(n_items: int, hidden: int) -> nn.Embedding:
    """Make an item table (V + 2, D) that starts Xavier-normal, the padding's row at zero."""
    table = nn.Embedding(n_items + 2, hidden, padding_idx=0)
    nn.init.xavier_normal_(table.weight)
    nn.init.zeros_(table.weight[0])
    return table
