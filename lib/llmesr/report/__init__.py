"""Stages 06 and later: one notebook a question; everything is derived from `metrics.csv` and `timings.csv`."""

import polars as pl

from llmesr.errors import InputError
from llmesr.paths import results, shown

METHOD_NAMES = {
    "popularity": "Popularity",
    "item_knn": "Item-kNN",
    "none": "None",
    "cities": "CITIES",
    "melt": "MELT",
    "rlmrec_con": "RLMRec-Con",
    "rlmrec_gen": "RLMRec-Gen",
    "llminit": "LLMInit",
    "llmesr": "LLM-ESR",
}
BACKBONE_NAMES = {"untrained": "–", "gru4rec": "GRU4Rec", "bert4rec": "BERT4Rec", "sasrec": "SASRec"}


def load(dataset: str, part: str = "metrics") -> pl.DataFrame:
    """Load `results/<dataset>/<part>.csv`.

    Raises:
        InputError: it is not there.
    """
    file = results(dataset) / f"{part}.csv"
    if not file.exists():
        raise InputError(f"{shown(file)} is missing: run `dvc repro evaluate` first")
    return pl.read_csv(file)
