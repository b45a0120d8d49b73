"""Backbones: one file, one class each, the same contract.

`place(x, real)` puts item vectors (B, T, D) on their positions, `encode(x, real)` turns placed vectors into states
(B, T, D); `real` (B, T) marks items as against padding on the right. `objective` says what the backbone is trained
to predict: `last_item`, `every_position` or `cloze`.
"""

from llmesr.models.backbones.bert4rec import BERT4Rec
from llmesr.models.backbones.gru4rec import GRU4Rec
from llmesr.models.backbones.sasrec import SASRec

Backbone = GRU4Rec | SASRec | BERT4Rec

BACKBONES: dict[str, type[Backbone]] = {"gru4rec": GRU4Rec, "bert4rec": BERT4Rec, "sasrec": SASRec}
