"""Measurements in processes of their own, in turn, so that what else the machine does meets all sides alike."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from llmesr.errors import InputError
from llmesr.paths import ROOT, from_root

LIBRARIES = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON")
"""Whose threads are limited by `<name>_NUM_THREADS`."""
PER_MB = 2**20 if sys.platform == "darwin" else 2**10
"""What the system counts a process's greatest memory in: bytes there, KB elsewhere."""


@dataclass(frozen=True)
class Side:
    """One of those that are compared.

    Attributes:
        system: what the table calls it.
        command: which process measures it.
        job: what that process is told, as JSON.
    """

    system: str
    command: tuple[str, ...]
    job: dict


@dataclass(frozen=True)
class Comparison:
    """Sides that do the same thing; the first is ours, to which the others are related.

    Attributes:
        name: of the comparison, a section of the table.
        subject: what is done.
        sides: who does it.
        once: measured once whatever the repeats: it is long, and its times are not the point.
    """

    name: str
    subject: str
    sides: tuple[Side, ...]
    once: bool = False


@dataclass(frozen=True)
class Sample:
    """What one process measured, and what there is to say about it."""

    values: dict[str, float]
    note: str = ""


def module(name: str) -> tuple[str, ...]:
    """Name the process that runs one of this folder's modules in our own environment."""
    return sys.executable, "-m", f"benchmarks.{name}"


def measure(side: Side, folder: Path) -> Sample:
    """Run a side's process to its end in a folder; its greatest resident memory is measured from outside.

    Raises:
        InputError: it failed.
    """
    environment = {**os.environ, **{f"{name}_NUM_THREADS": "1" for name in LIBRARIES}}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "lib")])
    command = [*side.command, json.dumps(side.job)]
    with TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        printed = process.stdout.read().splitlines()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)  # else it would be waited for again
        if process.returncode or not printed:
            errors.seek(0)
            raise InputError(f"'{side.system}' failed ({process.returncode}):\n{errors.read()[-3000:]}")
    measured = json.loads(printed[-1])
    if measured["values"]:
        measured["values"]["peak_rss_mb"] = usage.ru_maxrss / PER_MB
    return Sample(measured["values"], measured.get("note", ""))


def in_turn(comparison: Comparison, repeats: int, folder: Path, show: Callable[[str], None]) -> dict[str, list[Sample]]:
    """Measure all sides in turn, as often as asked: for each system its samples, in order."""
    samples: dict[str, list[Sample]] = {side.system: [] for side in comparison.sides}
    repeats = 1 if comparison.once else repeats
    for repeat in range(repeats):
        for side in comparison.sides:
            sample = measure(side, folder)
            samples[side.system].append(sample)
            numbers = ", ".join(f"{what} {value:,.4g}" for what, value in sample.values.items()) or sample.note
            show(f"{comparison.name} · {comparison.subject} · {side.system} [{repeat + 1}/{repeats}]: {numbers}")
    return samples


def read_job(arguments: Sequence[str] | None = None) -> dict:
    """Read the job that this process was started with."""
    parser = argparse.ArgumentParser(description="One measurement of `python -m benchmarks`.")
    parser.add_argument("job", help="JSON, as benchmarks/plan.py writes it")
    return json.loads(parser.parse_args(arguments).job)


def report(values: dict[str, float], note: str = "") -> None:
    """Print what was measured, for the process that started this one."""
    print(json.dumps({"values": values, "note": note}), flush=True)


def interpreter(environment: str) -> str:
    """Name the Python of another environment.

    Raises:
        InputError: it has not been made.
    """
    file = from_root(environment) / "bin" / "python"
    if not file.exists():
        raise InputError(f"{environment} is missing: run `make bench`, which makes it")
    return str(file)
