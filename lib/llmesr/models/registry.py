"""The methods that there are. To add one, write its file in `models/methods/` and put its class into this list.

Names, titles, the order of tables and the settings derive from it.
"""

from llmesr.models.base import Method
from llmesr.models.methods.alphafuse import AlphaFuse
from llmesr.models.methods.backbone_only import BackboneOnly
from llmesr.models.methods.cities import CITIES
from llmesr.models.methods.dualmatch import DualMatch
from llmesr.models.methods.ensrec import EnsRec
from llmesr.models.methods.faerec import FAERec
from llmesr.models.methods.l3ae import L3AE
from llmesr.models.methods.linear import Linear
from llmesr.models.methods.llmesr import LLMESR
from llmesr.models.methods.llminit import LLMInit
from llmesr.models.methods.melt import MELT
from llmesr.models.methods.multiview import MultiView
from llmesr.models.methods.rlmrec import RLMRecCon, RLMRecGen
from llmesr.models.methods.unisrec import UniSRec
from llmesr.models.methods.whitenrec import WhitenRec
from llmesr.models.named import by_name

_ALL: list[type[Method]] = [
    BackboneOnly,
    CITIES,
    MELT,
    RLMRecCon,
    RLMRecGen,
    LLMInit,
    LLMESR,
    WhitenRec,
    UniSRec,
    AlphaFuse,
    FAERec,
    EnsRec,
    Linear,
    L3AE,
    DualMatch,
    MultiView,
]

METHODS: dict[str, type[Method]] = by_name(_ALL)
