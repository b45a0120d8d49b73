"""Methods: one file each, the same contract (`models/contract.py`)."""

from collections.abc import Callable

from llmesr.models.methods import llmesr, llminit, none
from llmesr.models.methods.llmesr import LLMESR
from llmesr.models.methods.single_view import SingleView

Recommender = SingleView | LLMESR

METHODS: dict[str, Callable[..., Recommender]] = {
    "none": none.build,
    "llminit": llminit.build,
    "llmesr": llmesr.build,
}
