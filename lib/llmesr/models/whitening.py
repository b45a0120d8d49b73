"""Whitening: text embeddings lie in a narrow cone; made uncorrelated, their differences count in every direction."""

import numpy as np

LEAST = 1e-5
"""Variances are kept above this share of the largest, or directions that do not occur would be blown up."""


def spectrum(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the variances (L,), descending, and directions (L, L), one a column, of centred rows (n, L)."""
    values, directions = np.linalg.eigh((x.T @ x / len(x)).astype(np.float64))
    values, directions = values[::-1].clip(min=0), directions[:, ::-1]
    # the sign of a direction is arbitrary: its largest entry is made positive, so that all machines agree
    largest = np.take_along_axis(directions, np.abs(directions).argmax(0)[None], 0)
    return values, directions * np.where(largest < 0, -1.0, 1.0)


def location(rows: np.ndarray) -> tuple[np.ndarray, float]:
    """Find the mean (L,) of rows (n, L), and their root mean square distance from it, above zero."""
    mean = rows.mean(0)
    return mean, max(float(((rows - mean) ** 2).sum(1).mean()) ** 0.5, 1e-12)


def whiten(x: np.ndarray, groups: int = 1, power: float = 1.0, of: np.ndarray | None = None) -> np.ndarray:
    """Centre rows, and divide every principal direction by a power of its standard deviation (ZCA).

    Args:
        x: (n, L).
        groups: the columns are split into so many groups, each whitened alone, which relaxes it (WhitenRec).
        power: 1 gives the identity as covariance, 0 leaves it as it is.
        of: (m, L) rows whose mean and covariance are taken; x itself without.

    Returns:
        (n, L) float32.
    """
    of = x if of is None else of
    parts = []
    for part, known in zip(*(np.array_split(rows - of.mean(0), groups, axis=1) for rows in (x, of)), strict=True):
        values, directions = spectrum(known)
        scale = np.maximum(values, LEAST * values[0] + 1e-12) ** (-power / 2)
        parts.append(part @ (directions * scale) @ directions.T)
    return np.concatenate(parts, axis=1).astype(np.float32)
