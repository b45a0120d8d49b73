"""Backbones: one file, one class each, the same contract.

Built from its own settings, those of all models, and whether zero-vector padding is attended to.
`place(x, sequences)` puts item vectors (N, D) on their positions, `encode(x, sequences)` turns placed vectors
(N, …, D) into states of the same shape, several views at once if there are any; `last_only=True` gives the last states
(B, …, D) alone, for less work. `objective` says what the backbone
is trained to predict: `last_item`, `every_position` or `cloze`.
"""

from llmesr.models.backbones.bert4rec import BERT4Rec
from llmesr.models.backbones.gru4rec import GRU4Rec
from llmesr.models.backbones.sasrec import SASRec

Backbone = GRU4Rec | SASRec | BERT4Rec

BACKBONES: dict[str, type[Backbone]] = {"gru4rec": GRU4Rec, "bert4rec": BERT4Rec, "sasrec": SASRec}
