"""Looks at a run, for the lessons."""

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure
from torch import Tensor

from llmesr.report.plotting import ACCENT, MARK, alone, label


def curve(history: list[dict[str, float]], best_epoch: int) -> Figure:
    """Draw loss and validation NDCG@10 by epoch; the dashed line marks the weights that are kept."""
    epochs = [row["epoch"] for row in history]
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, axes = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
        for axis, name, label in (
            (axes[0], "loss", "Training loss"),
            (axes[1], "NDCG@10", "Validation NDCG@10"),
        ):
            sns.lineplot(x=epochs, y=[row[name] for row in history], ax=axis, color=ACCENT)
            axis.axvline(best_epoch, color=MARK, linestyle="--")
            axis.set(xlabel="Epoch", ylabel=label)
    return alone(figure)


def heatmap(weights: Tensor, labels: list[str], title: str) -> Figure:
    """Draw an attention map (T, T): each row shows where one position looks."""
    shortened = [label(name) for name in labels]
    with sns.axes_style("white"), sns.plotting_context("notebook"):
        figure, axis = plt.subplots(figsize=(7.5, 6), layout="constrained")
        sns.heatmap(
            weights,
            ax=axis,
            cmap="Blues",
            vmin=0,
            annot=len(labels) <= 8,
            fmt=".2f",
            xticklabels=shortened,
            yticklabels=shortened,
            cbar_kws={"label": "attention"},
        )
        axis.set(xlabel="asked (keys, values)", ylabel="asking (queries)", title=title)
    return alone(figure)
