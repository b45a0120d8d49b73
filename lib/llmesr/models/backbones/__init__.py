"""Backbones: one file a backbone. To add one, write its file and put its class into `BACKBONES`."""

from llmesr.models.backbones.base import Backbone
from llmesr.models.backbones.bert4rec import BERT4Rec
from llmesr.models.backbones.gru4rec import GRU4Rec
from llmesr.models.backbones.sasrec import SASRec

BACKBONES: dict[str, type[Backbone]] = {backbone.name: backbone for backbone in (GRU4Rec, BERT4Rec, SASRec)}
