"""Stages 06 and later: one notebook a question; everything is derived from `metrics.csv` and `timings.csv`."""

from llmesr.published import UNTRAINED

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
    "whitenrec": "WhitenRec+",
    "unisrec": "UniSRec",
    "alphafuse": "AlphaFuse",
    "dualmatch": "DualMatch",
    "multiview": "Multi-view",
}
BACKBONE_NAMES = {UNTRAINED: "–", "gru4rec": "GRU4Rec", "bert4rec": "BERT4Rec", "sasrec": "SASRec"}
