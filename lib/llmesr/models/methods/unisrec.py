"""UniSRec's item encoder (Hou et al., KDD 2022), trained on the dataset itself, without its pre-training.

Experts shift and rotate the text (parametric whitening), a gate that reads the text mixes them. In its transductive
form an ID embedding is added. Items and states meet by cosine over a temperature.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmesr.models.backbones.base import Backbone
from llmesr.models.base import Method
from llmesr.models.dropout import Dropout
from llmesr.models.inputs import ModelInputs
from llmesr.section import Dropout as DropoutShare
from llmesr.section import Positive, Rate, Section
from llmesr.sequences import Sequences


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

    def __init__(self, text: Tensor, hidden: int, settings: "UniSRec.Settings") -> None:
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
            # in float32, so that half precision draws the same noise
            gates = gates + torch.randn_like(gates, dtype=torch.float32) * (F.softplus(self.noise(text)) + 1e-2)
        mixed = torch.stack([expert(text) for expert in self.experts], -2)  # (…, experts, D)
        mixture = (gates.softmax(-1)[..., None] * mixed).sum(-2)
        return mixture if self.ids is None else mixture + self.ids(items)


class UniSRec(Method):
    """The backbone on a mixture of experts over text; the score is a cosine over a temperature."""

    name = "unisrec"
    title = "UniSRec"
    loss = "cross_entropy"

    class Settings(Section):
        """UniSRec's own settings."""

        experts: Positive = 8
        """Experts that are mixed (UniSRec's paper: 8)."""
        dropout: DropoutShare = 0.2
        """Dropout of the text that an expert reads (UniSRec's code: 0.2)."""
        temperature: Rate = 0.07
        """Temperature of the cosine (UniSRec's paper: 0.07)."""
        ids: bool = True
        """An ID embedding is added (UniSRec's paper: its transductive form)."""

    def __init__(self, settings: "UniSRec.Settings", inputs: ModelInputs, backbone: Backbone) -> None:
        super().__init__(settings, inputs, backbone)
        self.table = MixtureOfExperts(inputs.semantic_table, inputs.hidden, settings)

    def initialise(self) -> None:
        """Draw first values as UniSRec does: small experts, and a gate without a preference."""
        super().initialise()
        for expert in self.table.experts:
            nn.init.normal_(expert.rotate.weight, std=0.02)
        nn.init.zeros_(self.table.gate.weight)
        nn.init.zeros_(self.table.noise.weight)

    def states(self, sequences: Sequences, vectors: Tensor) -> Tensor:
        """Encode N item vectors (N, D) to states of length 1 / τ: (N, D)."""
        return F.normalize(super().states(sequences, vectors), dim=-1) / self.settings.temperature

    def item_vectors(self, items: Tensor) -> Tensor:
        """Return the vectors (…, D), of length one, of items (…)."""
        return F.normalize(self.table(items), dim=-1)
