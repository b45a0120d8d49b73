"""The section `train` of the settings."""

from typing import Annotated, Literal

from pydantic import Field

from llmesr.section import Fraction, Positive, Rate, Section, Weight


class TrainSettings(Section):
    """How one run (backbone × method × seed) is trained, and how many at a time."""

    epochs: Positive = 200
    """Epochs at most (paper: 200)."""
    patience: Positive = 20
    """Epochs without a better validation NDCG@10 before stopping (paper: 20)."""
    stop_by: Literal["sampled", "full"] = "sampled"
    """The ranking whose NDCG@10 stops training and chooses the epoch (paper: sampled)."""
    batch_size: Positive = 128
    """Sequences a step (paper: 128)."""
    learning_rate: Rate = 0.001
    """Adam's (paper: 0.001)."""
    weight_decay: Weight = 0.0
    """L2 (paper: 0)."""
    loss: Literal["own", "bce", "gbce", "sampled_softmax", "cross_entropy"] = "own"
    """The ranking loss; `own` is that of the method's paper, `cross_entropy` is full softmax."""
    soft_targets: Fraction | Literal["own"] = "own"
    """λ, the share of a target that `cross_entropy` gives to items that are alike by text; `own` is the method's."""
    soft_temperature: Rate = 0.05
    """τ of these items' shares, softmax(cosine / τ)."""
    negatives: Positive = 1
    """Sampled negatives: per positive (paper: 1), for `sampled_softmax` per step; `cross_entropy` needs none."""
    calibration: Fraction = 0.75
    """gBCE's t, from plain (0) to calibrated (1) (gSASRec: 0.75, with 256 negatives)."""
    propensity: Fraction = 0.0
    """γ, the power of an item's popularity by which its positions count less; 0: all count the same (paper)."""
    adversary: Annotated[str, Field(min_length=1)] = "none"
    """What an adversary may not guess: `none`, `popularity` (from item vectors), or a user attribute (from states)."""
    adversary_weight: Rate = 1.0
    """Weight of the reversed gradient."""
    redraw_negatives: bool = False
    """New validation negatives at every validation (authors' code: true)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; `auto` takes a GPU if there is one."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of products in training (autocast); the rest, and evaluation, stay in float32."""
    threads: Positive = 1
    """CPU threads of a run. Sums are added up in an order that depends on it."""
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Runs that are trained at a time; `auto` is one a core, or one a GPU."""
    backend: Literal["loky", "dask"] = "loky"
    """What runs the workers: `loky` processes of this machine, or a cluster of `dask` (extra `cluster`)."""
