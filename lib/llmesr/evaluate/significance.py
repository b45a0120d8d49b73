"""Is a difference significant? Paired tests over users, with a correction for how many are made."""

import itertools
from functools import partial

import numpy as np
import polars as pl
from scipy.stats import false_discovery_control, ttest_rel

from llmesr.evaluate.references import UNTRAINED
from llmesr.metrics import METRICS

AGAINST = ("base", "llmesr", "dualmatch", "popularity")
"""The methods that all others are compared with."""
LEVEL = 0.05
"""Of the false discovery rate, and 1 minus the confidence of the intervals."""


def compare(ranks: pl.DataFrame, against: tuple[str, ...] = AGAINST, cutoffs: tuple[int, ...] = (10,)) -> pl.DataFrame:
    """Compare every method with some, on each backbone, protocol, metric and head or tail group.

    A reference without a backbone, such as popularity, is compared with on every one.

    A user's value is the mean over seeds. The difference of two methods is tested by the paired t-test over users;
    p becomes q, the false discovery rate at which it is just found (Benjamini and Hochberg, 1995), among all
    comparisons with one method under one protocol and metric. It speaks of users, given these seeds: what another
    seed would have done shows in the standard deviation.

    Args:
        ranks: `backbone, method, seed, protocol, user, item_group, user_group, rank`; every run has the users in the
            same order.
        against: the methods that all others are compared with; two of them with each other once.
        cutoffs: k of HR@k and NDCG@k.

    Returns:
        `backbone, method, against, protocol, group, metric, users, difference, low, high, p, q, significant`.
    """
    rows, untrained = [], ranks.filter(backbone=UNTRAINED)
    trained = ranks.filter(pl.col("backbone") != UNTRAINED)
    for (backbone, protocol), part in trained.group_by(["backbone", "protocol"], maintain_order=True):
        groups = _groups(part)
        for name, k in itertools.product(METRICS, cutoffs):
            metric = partial(METRICS[name], k=k)
            values = _by_method(part, metric)
            references = _by_method(untrained.filter(protocol=protocol), metric) | values
            where = {"backbone": backbone, "protocol": protocol, "metric": f"{name}@{k}"}
            rows += [{**where, **row} for row in _pairs(values, references, groups, against)]
    if not rows:
        return pl.DataFrame(schema=SCHEMA)
    found = pl.DataFrame(rows, infer_schema_length=None)
    family = pl.struct("p").map_batches(lambda p: pl.Series(false_discovery_control(p.struct.field("p").to_numpy())))
    found = found.with_columns(family.over(["protocol", "metric", "against"]).alias("q"))
    return found.with_columns((pl.col("q") < LEVEL).alias("significant")).select(list(SCHEMA))


SCHEMA = {
    "backbone": pl.String,
    "method": pl.String,
    "against": pl.String,
    "protocol": pl.String,
    "group": pl.String,
    "metric": pl.String,
    "users": pl.Int64,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,
    "q": pl.Float64,
    "significant": pl.Boolean,
}


def _by_method(part: pl.DataFrame, metric: object) -> dict[str, np.ndarray]:
    """Average each user's metric over seeds: method → (n,)."""
    found = {}
    for (method,), runs in part.group_by(["method"], maintain_order=True):
        seeds = [metric(run["rank"].to_numpy()) for _, run in runs.group_by(["seed"], maintain_order=True)]
        found[method] = np.mean(seeds, axis=0)
    return found


def _groups(part: pl.DataFrame) -> dict[str, np.ndarray]:
    """Tell which test cases each group has: name → (n,) bool."""
    first = next(run for _, run in part.group_by(["method", "seed"], maintain_order=True))
    groups = {"overall": np.ones(first.height, bool)}
    for column in ("item_group", "user_group"):
        groups |= {label: (first[column] == label).to_numpy() for label in first[column].unique().sort()}
    return groups


def _pairs(
    values: dict[str, np.ndarray],
    references: dict[str, np.ndarray],
    groups: dict[str, np.ndarray],
    against: tuple[str, ...],
) -> list[dict[str, object]]:
    rows = []
    for i, reference in enumerate(against):
        for method in values:
            compared = reference in values and method in against[:i]
            if reference not in references or method == reference or compared:
                continue
            for group, chosen in groups.items():
                one, other = values[method][chosen], references[reference][chosen]
                rows.append({"method": method, "against": reference, "group": group, **_paired(one, other)})
    return rows


def _paired(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    difference = one - other
    summary = {"users": len(one), "difference": float(difference.mean())}
    if len(one) < 2 or np.ptp(difference) == 0:  # nothing varies: no test, and no interval wider than a point
        return {**summary, "low": summary["difference"], "high": summary["difference"], "p": 1.0}
    test = ttest_rel(one, other)
    interval = test.confidence_interval(1 - LEVEL)
    return {**summary, "low": float(interval.low), "high": float(interval.high), "p": float(test.pvalue)}
