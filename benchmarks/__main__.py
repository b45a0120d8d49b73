"""`python -m benchmarks`: measure, side by side, and write `results/<dataset>/benchmarks/`."""

import argparse
import os
import platform
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from llmesr.errors import InputError
from llmesr.paths import results, shown
from llmesr.settings import load

from benchmarks.about import ABOUT
from benchmarks.plan import COMPARISONS, Request
from benchmarks.table import Row, rows, write
from benchmarks.timing import in_turn


def main() -> None:
    """Measure the comparisons that are asked for."""
    parser = argparse.ArgumentParser(prog="benchmarks", description="Time ours and others in turn, on one thread each.")
    parser.add_argument("--params", default="params.yaml", help="settings file (default: %(default)s)")
    parser.add_argument("--only", default=",".join(COMPARISONS), help="by comma (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="of every comparison (default: %(default)s)")
    parser.add_argument(
        "--budget", type=float, default=20.0, help="seconds of RecBole's epoch at most (default: %(default)s)"
    )
    arguments = parser.parse_args()
    try:
        if unknown := set(arguments.only.split(",")) - set(COMPARISONS):
            raise InputError(f"'{min(unknown)}' is not among the comparisons: {', '.join(COMPARISONS)}")
        if arguments.repeats < 1 or arguments.budget <= 0:
            raise InputError("--repeats and --budget must be above 0")
        _measure(arguments)
    except InputError as error:
        parser.exit(1, f"{error}\n")


def _measure(arguments: argparse.Namespace) -> None:
    """Measure one comparison after the other, and write each as soon as it is measured."""
    settings = load(arguments.params)
    name, folder = settings.dataset, results(settings.dataset, "benchmarks")
    with TemporaryDirectory() as temporary:
        request = Request(arguments.params, settings, Path(temporary), arguments.budget)
        for chosen in arguments.only.split(","):
            measured = list[Row]()
            for comparison in COMPARISONS[chosen](request):
                samples = in_turn(comparison, arguments.repeats, Path(temporary), partial(print, flush=True))
                measured += rows(name, comparison, samples)
            write(measured, folder, ABOUT, _machine(name))
    print(f"written: {shown(folder)}/benchmarks.csv and table.md")


def _machine(dataset: str) -> str:
    """Say on what it was measured, and how to read it."""
    return (
        f"Dataset {dataset}, {os.cpu_count()} cores ({platform.machine()}), one thread a process, systems in turn. "
        "Median (least–most) over repeats. **× ours** is the median of the ratios to ours within a repeat. For times "
        "and memory, above 1 means that ours is better. For throughput, below 1 means that ours is better."
    )


if __name__ == "__main__":
    main()
