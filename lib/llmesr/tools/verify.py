"""Compare your numbers with the published ones: `python -m llmesr.tools.verify` (`make verify`).

Published is what the last commit has of `results/<dataset>/evaluate/metrics.csv`; yours is what lies there now. Two
machines do not give the same bits, and training enlarges the difference as another seed would. So a mean over seeds is
taken for the same if it is within two standard errors of the published one.
"""

import io
import subprocess
import sys

import polars as pl

from llmesr.errors import InputError
from llmesr.paths import ROOT, results
from llmesr.report import BACKBONE_NAMES, METHOD_NAMES, published
from llmesr.settings import load

METRIC, GROUPS = "NDCG@10", ("overall", "tail_item")
KEYS = ["backbone", "method", "protocol", "group"]
ERRORS = 2
"""Standard errors of the difference within which two means are taken for the same."""


def committed(dataset: str) -> pl.DataFrame:
    """Read the published metrics from git.

    Raises:
        InputError: the last commit has none of this dataset, or this is no git checkout.
    """
    file = results(dataset, "evaluate").relative_to(ROOT) / "metrics.csv"
    command = ["git", "show", f"HEAD:{file.as_posix()}"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if found.returncode:
        raise InputError(
            f"no numbers are published for {dataset} ({file.as_posix()} is not in git): nothing is compared"
        )
    return pl.read_csv(io.BytesIO(found.stdout))


def compare(theirs: pl.DataFrame, mine: pl.DataFrame) -> pl.DataFrame:
    """Compare means over seeds: `backbone, method, protocol, group, published, mine, error, same`."""
    sides = []
    for frame in (theirs, mine):
        kept = frame.filter(pl.col("group").is_in(GROUPS), metric=METRIC)
        over = pl.col("value").mean(), (pl.col("value").var().fill_null(0) / pl.len()).alias("variance")
        sides.append(kept.group_by(KEYS, maintain_order=True).agg(*over))
    both = sides[0].join(sides[1], on=KEYS, how="inner", suffix="_mine", maintain_order="left")
    error = (pl.col("variance") + pl.col("variance_mine")).sqrt()
    difference = (pl.col("value_mine") - pl.col("value")).abs()
    named = {"published": "value", "mine": "value_mine"}
    return both.select(*KEYS, **named, error=error, same=difference <= ERRORS * error + 1e-6)


def told(found: pl.DataFrame) -> str:
    """Say how many means are the same, below a table of those that are not."""
    lines = []
    for row in found.filter(~pl.col("same")).iter_rows(named=True):
        names = BACKBONE_NAMES.get(row["backbone"], row["backbone"]), METHOD_NAMES.get(row["method"], row["method"])
        numbers = f"{row['published']:.4f} published, {row['mine']:.4f} yours, standard error {row['error']:.4f}"
        lines.append(f"{' '.join(names)}, {row['protocol']}, {row['group'].replace('_', ' ')}: {numbers}")
    same = int(found["same"].sum())
    whole = f"{same} of {found.height} means of {METRIC} are within {ERRORS} standard errors of the published ones"
    return "\n".join([*lines, f"{whole}."])


def main() -> None:
    """Compare the dataset that the settings name."""
    try:
        dataset = load().dataset
        print(told(compare(committed(dataset), published.load(dataset))))
    except InputError as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
