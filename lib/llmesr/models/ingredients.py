"""What a method may be built from."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from llmesr.embed import Embeddings
from llmesr.models.backbones import Backbone
from llmesr.retrieve import Neighbours


@dataclass(frozen=True)
class Ingredients:
    """A backbone, the embeddings of stage 02, the similar users of stage 03 and T, the latest items that are read.

    Item tables have V + 2 rows: 0 is padding, V + 1 is BERT4Rec's [MASK], which starts at zero in tables that come with
    a value.
    """

    backbone: Backbone
    embeddings: Embeddings
    similar: Neighbours
    max_length: int

    @property
    def rows(self) -> int:
        """Rows of an item table, V + 2."""
        return len(self.embeddings.items) + 1

    @property
    def hidden(self) -> int:
        """Width D of a trained item table."""
        return self.embeddings.initial.shape[1]

    @cached_property
    def semantic(self) -> Tensor:
        """E_se with the row of [MASK]: (V + 2, L)."""
        return _with_mask_row(self.embeddings.items)

    @cached_property
    def initial(self) -> Tensor:
        """PCA of E_se with the row of [MASK]: (V + 2, D)."""
        return _with_mask_row(self.embeddings.initial)

    @property
    def of_users(self) -> Tensor:
        """LLM embeddings of the users: (U, L)."""
        return torch.from_numpy(self.embeddings.users)

    @property
    def neighbours(self) -> Tensor:
        """(U, N) similar users."""
        return torch.from_numpy(self.similar.users)


def _with_mask_row(table: object) -> Tensor:
    return torch.nn.functional.pad(torch.as_tensor(table), (0, 0, 0, 1))


def for_items(rows: np.ndarray) -> Tensor:
    """Put the zero rows of padding and of [MASK] around those of items 1..V: (V + 2, …) float32."""
    return torch.nn.functional.pad(torch.as_tensor(rows, dtype=torch.float32), (0, 0, 1, 1))
