"""Methods: one file each, the same contract (`models/contract.py`)."""

from collections.abc import Callable

from llmesr.models.methods import cities, llmesr, llminit, melt, none, rlmrec
from llmesr.models.methods.llmesr import LLMESR
from llmesr.models.methods.melt import MELT
from llmesr.models.methods.rlmrec import Contrastive, Generative
from llmesr.models.methods.single_view import SingleView

Recommender = SingleView | MELT | Contrastive | Generative | LLMESR

METHODS: dict[str, Callable[..., Recommender]] = {
    "none": none.build,
    "cities": cities.build,
    "melt": melt.build,
    "rlmrec_con": rlmrec.build_contrastive,
    "rlmrec_gen": rlmrec.build_generative,
    "llminit": llminit.build,
    "llmesr": llmesr.build,
}

STARTS_FROM = {"melt": "none"}
"""Methods that go on from another one, trained first with the same seed."""
