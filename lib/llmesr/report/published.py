"""What is published in `results/`: the frames that tables and figures derive from, and the pages made of them."""

import polars as pl
from IPython.display import Image, Markdown, display

from llmesr.errors import InputError
from llmesr.paths import results, shown
from llmesr.report import DATASET_NAMES, dataset_name


def load(dataset: str, part: str = "metrics", stage: str = "evaluate", command: str | None = None) -> pl.DataFrame:
    """Load `results/<dataset>/<stage>/<part>.csv`, which a command makes, by default `dvc repro <stage>`.

    Raises:
        InputError: it is not there.
    """
    file = results(dataset, stage) / f"{part}.csv"
    if not file.exists():
        raise InputError(f"{shown(file)} is missing: run `{command or f'dvc repro {stage}'}` first")
    return pl.read_csv(file)


def show(stage: str, *files: str) -> None:
    """Display what is published of a stage on the built-in datasets, below the name of each.

    Args:
        stage: a folder of `results/<dataset>/`.
        files: Markdown tables and PNG figures in it; what a dataset does not have is left out.
    """
    for dataset in DATASET_NAMES:
        there = [results(dataset, stage) / file for file in files]
        there = [file for file in there if file.exists() and dataset != "tiny"]
        if there:
            display(Markdown(f"### Published: {dataset_name(dataset)}"))
        for file in there:
            display(Markdown(file.read_text(encoding="utf-8")) if file.suffix == ".md" else Image(str(file)))
