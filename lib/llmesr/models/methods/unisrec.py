"""UniSRec's item encoder (Hou et al., KDD 2022), trained on the dataset itself, without its pre-training.

Experts shift and rotate the text (parametric whitening), a gate that reads the text mixes them. In its transductive
form an ID embedding is added. Items and states meet by cosine over a temperature.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmesr.models.dropout import Dropout
from llmesr.models.ingredients import Ingredients
from llmesr.models.methods.single_view import SingleView
from llmesr.models.ragged import Ragged
from llmesr.settings import UniSRec


class Expert(nn.Module):
    """Parametric whitening: (x - b) W."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(width))
        self.rotate = nn.Linear(width, hidden, bias=False)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, L) to (…, D)."""
        return self.rotate(self.dropout(x) - self.shift)


class MixtureOfExperts(nn.Module):
    """Item ids → gated mixture of experts over frozen text, and an ID embedding."""

    def __init__(self, text: Tensor, hidden: int, settings: UniSRec) -> None:
        super().__init__()
        self.register_buffer("text", text, persistent=False)  # (V + 2, L)
        width = text.shape[1]
        self.experts = nn.ModuleList(Expert(width, hidden, settings.dropout) for _ in range(settings.experts))
        self.gate = nn.Linear(width, settings.experts, bias=False)
        self.noise = nn.Linear(width, settings.experts, bias=False)
        self.ids = None
        if settings.ids:
            self.ids = nn.Embedding(len(text), hidden, padding_idx=0)
            nn.init.normal_(self.ids.weight, std=0.02)
            nn.init.zeros_(self.ids.weight[0])

    def forward(self, items: Tensor) -> Tensor:
        """Return the vectors (…, D) of items (…)."""
        text = F.embedding(items, self.text)
        gates = self.gate(text)
        if self.training:  # noisy gates try other experts
            gates = gates + torch.randn_like(gates) * (F.softplus(self.noise(text)) + 1e-2)
        mixed = torch.stack([expert(text) for expert in self.experts], -2)  # (…, experts, D)
        found = (gates.softmax(-1)[..., None] * mixed).sum(-2)
        return found if self.ids is None else found + self.ids(items)


class Cosine(SingleView):
    """A single view whose score is a cosine over a temperature."""

    def __init__(self, plain: SingleView, temperature: float) -> None:
        super().__init__(plain.backbone, plain.table)
        self.temperature = temperature

    def states(self, sequences: Ragged, vectors: Tensor, *, last_only: bool = False) -> Tensor:
        """Encode N item vectors (N, D) to states of length 1 / τ: (N, D), or the B last ones (B, D)."""
        return F.normalize(super().states(sequences, vectors, last_only=last_only), dim=-1) / self.temperature

    def item_vectors(self, items: Tensor) -> Tensor:
        """Return the vectors (…, D), of length one, of items (…)."""
        return F.normalize(self.table(items), dim=-1)


def build(settings: UniSRec, given: Ingredients) -> Cosine:
    """Build the backbone on a mixture of experts over text."""
    return Cosine(
        SingleView(given.backbone, MixtureOfExperts(given.semantic, given.hidden, settings)), settings.temperature
    )
