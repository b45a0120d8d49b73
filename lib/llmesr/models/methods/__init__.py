"""Methods: one file each, the same contract (`models/contract.py`)."""

from collections.abc import Callable

from llmesr.models.methods import (
    alphafuse,
    cities,
    dualmatch,
    llmesr,
    llminit,
    melt,
    multiview,
    none,
    rlmrec,
    unisrec,
    whitenrec,
)
from llmesr.models.methods.llmesr import LLMESR
from llmesr.models.methods.melt import MELT
from llmesr.models.methods.rlmrec import Contrastive, Generative
from llmesr.models.methods.single_view import SingleView

Method = SingleView | MELT | Contrastive | Generative | LLMESR

METHODS: dict[str, Callable[..., Method]] = {
    "none": none.build,
    "cities": cities.build,
    "melt": melt.build,
    "rlmrec_con": rlmrec.build_contrastive,
    "rlmrec_gen": rlmrec.build_generative,
    "llminit": llminit.build,
    "llmesr": llmesr.build,
    "whitenrec": whitenrec.build,
    "unisrec": unisrec.build,
    "alphafuse": alphafuse.build,
    "dualmatch": dualmatch.build,
    "multiview": multiview.build,
}

LOSSES = dict.fromkeys(["whitenrec", "unisrec", "alphafuse", "dualmatch", "multiview"], "cross_entropy")
"""The ranking loss of a method's own paper, where it is not binary cross-entropy (`train.loss: own`)."""

STARTS_FROM = {"melt": "none"}
"""Methods that go on from another one, trained first with the same seed."""
