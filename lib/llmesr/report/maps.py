"""Maps of item tables: many dimensions brought to two, neighbours kept together (t-SNE)."""

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from llmesr.prepare.dataset import OF_ITEMS
from llmesr.report.plotting import alone, label

CATEGORIES = 8
"""Categories with a colour of their own; the others are grey."""
OTHER = "other"


def project(table: np.ndarray, seed: int = 0) -> np.ndarray:
    """Bring vectors (V, W) to the plane (V, 2) by t-SNE on cosine distances of their leading 50 components.

    On one thread: several wait for each other a thousand times, which takes minutes where something else computes too.
    """
    reduced = PCA(min(50, *table.shape), random_state=seed).fit_transform(table)
    perplexity = min(30, (len(table) - 1) / 3)
    with threadpool_limits(1):
        return TSNE(perplexity=perplexity, metric="cosine", init="random", random_state=seed).fit_transform(reduced)


def category(items: pl.DataFrame, chosen: str | None) -> tuple[str, np.ndarray]:
    """Keep the most frequent values of the attribute that sorts items into kinds.

    Args:
        items: of the dataset.
        chosen: the column of categories; without one it is the attribute with the fewest values, but at least as many
            as there are colours.

    Returns:
        the column's name and each item's category, `other` for the rare ones.
    """
    counts = {name: items[name].n_unique() for name in items.columns if name not in OF_ITEMS}
    rich = sorted((count, name) for name, count in counts.items() if count >= CATEGORIES)
    name = [*([chosen] if chosen in counts else []), *(name for _, name in rich), *counts, "title"][0]
    values = items[name].cast(pl.String).fill_null(OTHER).alias("kind")
    frequent = values.value_counts(sort=True).filter(pl.col("kind") != OTHER).head(CATEGORIES)["kind"]
    shown = [label(value) for value in values]
    return name, np.where(values.is_in(frequent.implode()), shown, OTHER)


def draw(maps: dict[str, np.ndarray], counts: np.ndarray, kind: str, kinds: np.ndarray) -> Figure:
    """Draw each map twice: coloured by popularity, and by category.

    Args:
        maps: title → (V, 2).
        counts: (V,) training interactions.
        kind: what the category is.
        kinds: (V,) each item's.
    """
    names = sorted(set(kinds), key=lambda name: (name == OTHER, name))
    colours = {**dict(zip(names, sns.color_palette("deep", len(names)), strict=True)), OTHER: (0.8, 0.8, 0.8)}
    with sns.axes_style("white"), sns.plotting_context("notebook"):
        figure, axes = plt.subplots(2, len(maps), figsize=(4 * len(maps), 8), squeeze=False, layout="constrained")
        for column, (title, points) in enumerate(maps.items()):
            upper, lower = axes[:, column]
            shade = upper.scatter(*points.T, c=np.log10(counts + 1), cmap="viridis", s=6)
            upper.set(title=title)
            for name in reversed(names):
                lower.scatter(*points[kinds == name].T, color=colours[name], s=6, label=name)
            for axis in (upper, lower):
                axis.set(xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2")
        figure.colorbar(shade, ax=axes[0, -1], label="log₁₀(training interactions + 1)")
        handles, labels = axes[1, -1].get_legend_handles_labels()
    figure.legend(
        handles[::-1], labels[::-1], title=kind, loc="outside lower center", ncols=5, frameon=False, markerscale=2
    )
    return alone(figure)


def neighbours_kept(one: np.ndarray, other: np.ndarray, k: int = 10) -> float:
    """Share of an item's k nearest in one table (V, W) that are also among its k nearest in the other, by cosine."""
    k = min(k, len(one) - 1)

    def nearest(table: np.ndarray) -> np.ndarray:
        search = NearestNeighbors(n_neighbors=k, metric="cosine").fit(table)
        return search.kneighbors(return_distance=False)  # of each item among the others

    pairs = zip(nearest(one), nearest(other), strict=True)
    return float(np.mean([len(np.intersect1d(a, b)) / k for a, b in pairs]))
