"""The groups that test cases belong to, and the check that their means recombine."""

import numpy as np

from llmesr.prepare.dataset import Dataset, Targets


def families(asked: Targets, data: Dataset) -> dict[str, np.ndarray]:
    """Label every test case by its target's popularity and its user's length.

    Returns:
        for each of the four families the (n,) labels: head or tail item, head or tail user, one of the five
        groups by popularity, one of the five by length. Every case has one label in each.
    """
    return {
        "item": data.items["tail"].to_numpy()[asked.items - 1],
        "user": data.users["tail"].to_numpy()[asked.users],
        "popularity": data.items["group"].to_numpy()[asked.items - 1],
        "length": data.users["group"].to_numpy()[asked.users],
    }


def recombine(values: np.ndarray, grouped: dict[str, np.ndarray]) -> None:
    """Check that each family's means, weighted by the groups' sizes, give the overall mean.

    Args:
        values: (n,) a metric's value for each test case.
        grouped: the labels of each family.

    Raises:
        AssertionError: they do not, so a case was lost or counted twice.
    """
    for family, labels in grouped.items():
        if len(labels) != len(values):
            raise AssertionError(f"the groups of '{family}' do not recombine: {len(labels)} of {len(values)} cases")
        names, sizes = np.unique(labels, return_counts=True)
        means = np.array([values[labels == name].mean() for name in names])
        if not np.isclose(means @ sizes / len(values), values.mean(), atol=1e-9):
            raise AssertionError(f"the groups of '{family}' do not recombine to the overall mean")
