"""The runs of the main tables: every combination of `matrix`."""

from collections.abc import Sequence

from llmesr.models.inputs import ModelInputs
from llmesr.prepare.dataset import Dataset
from llmesr.runs.store import Run
from llmesr.settings import Settings


def matrix_runs(
    settings: Settings,
    data: Dataset,
    inputs: ModelInputs,
    *,
    methods: Sequence[str] | None = None,
    backbones: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> list[Run]:
    """List the runs of the matrix, or those of some methods, backbones and seeds."""
    return [
        Run(settings, backbone, method, seed, data, inputs)
        for backbone in backbones or settings.matrix.backbones
        for method in methods or settings.matrix.methods
        for seed in seeds or settings.matrix.seeds
    ]
