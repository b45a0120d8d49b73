"""`python -m benchmarks`: measure, side by side, and write `results/<dataset>/benchmarks.csv` and `.md`."""

import argparse
import os
import platform
from pathlib import Path
from tempfile import TemporaryDirectory

from llmesr.errors import InputError
from llmesr.paths import results, shown
from llmesr.settings import load

from benchmarks.about import ABOUT
from benchmarks.plan import ROOMS, Asked
from benchmarks.table import Row, rows, write
from benchmarks.timing import in_turn


def main() -> None:
    """Measure the rooms that are asked for."""
    parser = argparse.ArgumentParser(prog="benchmarks", description="Time ours and others in turn, on one thread each.")
    parser.add_argument("--params", default="params.yaml", help="settings file (default: %(default)s)")
    parser.add_argument("--only", default=",".join(ROOMS), help="rooms, by comma (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="of every comparison (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=3, help="of the reference that are timed (default: %(default)s)")
    parser.add_argument(
        "--budget", type=float, default=20.0, help="seconds of RecBole's epoch at most (default: %(default)s)"
    )
    asked = parser.parse_args()
    try:
        if unknown := set(asked.only.split(",")) - set(ROOMS):
            raise InputError(f"'{min(unknown)}' is not among the rooms: {', '.join(ROOMS)}")
        if min(asked.repeats, asked.batches) < 1 or asked.budget <= 0:
            raise InputError("--repeats, --batches and --budget must be above 0")
        _measure(asked)
    except InputError as error:
        parser.exit(1, f"{error}\n")


def _measure(asked: argparse.Namespace) -> None:
    """Measure room by room, and write each as soon as it is measured."""
    settings = load(asked.params)
    folder = results(settings.data.name)
    with TemporaryDirectory() as temporary:
        about = Asked(asked.params, settings, Path(temporary), asked.batches, asked.budget)
        for room in asked.only.split(","):
            found = list[Row]()
            for comparison in ROOMS[room](about):
                samples = in_turn(comparison, asked.repeats, Path(temporary), lambda line: print(line, flush=True))
                found += rows(settings.data.name, comparison, samples)
            write(found, folder, ABOUT, _machine(settings.data.name))
    print(f"written: {shown(folder)}/benchmarks.csv and .md")


def _machine(dataset: str) -> str:
    """Say what was measured on what, and how to read it."""
    return (
        f"Dataset {dataset}, {os.cpu_count()} cores ({platform.machine()}), one thread a process, systems in turn. "
        "Median (least–most) over repeats; **× ours** is the median of the ratios to ours within a repeat: of times "
        "and memory above 1, and of throughput below 1, speaks for ours."
    )


if __name__ == "__main__":
    main()
