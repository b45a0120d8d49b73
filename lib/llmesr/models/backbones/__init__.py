"""Backbones: one file a backbone. To add one, write its file and put its class into `BACKBONES`."""

from llmesr.models.backbones.base import Backbone
from llmesr.models.backbones.bert4rec import BERT4Rec
from llmesr.models.backbones.gru4rec import GRU4Rec
from llmesr.models.backbones.sasrec import SASRec
from llmesr.models.named import by_name

BACKBONES: dict[str, type[Backbone]] = by_name([GRU4Rec, BERT4Rec, SASRec])
