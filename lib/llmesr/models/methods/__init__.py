"""Methods: one file each, the same contract.

`states(items)`, `item_vectors(items)`, `start_epoch(encode_users)`, `extra_loss(users, states)`; the score of an item
is the inner product of the last state and its vector.
"""

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
