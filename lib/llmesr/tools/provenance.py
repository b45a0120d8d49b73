"""Note where a dataset's results come from: `python -m llmesr.tools.provenance DATASET`.

It writes `results/<dataset>/provenance.json`: the commit, the versions, the machine, and how long each stage took.
"""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from llmesr.errors import InputError
from llmesr.paths import ROOT, results, shown
from llmesr.prepare.dataset import save_json

PACKAGES = ("torch", "transformers", "faiss-cpu", "numpy", "polars", "dvc")
WRITTEN_BY_RUNS = ("results", "dvc.lock")
"""What the pipeline itself changes: it makes no tree dirty."""


def run(dataset: str) -> dict[str, Any]:
    """Write the file of a dataset and return its content.

    Raises:
        InputError: no lesson has been executed for it.
    """
    seconds = stage_seconds(ROOT / "runs" / dataset)
    if not seconds:
        raise InputError(f"runs/{dataset}/ has no executed lesson: run `dvc repro` first")
    content = {
        "dataset": dataset,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        **commit(ROOT),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "machine": machine(),
        "stage_seconds": seconds,
        "total_seconds": round(sum(seconds.values()), 1),
    }
    save_json(content, results(dataset) / "provenance.json")
    return content


def stage_seconds(folder: Path) -> dict[str, float]:
    """Read how long papermill took for each executed lesson, those of lesson 04 one by one.

    Raises:
        InputError: a copy is damaged.
    """
    seconds = {}
    for file in [*sorted(folder.glob("*.ipynb")), *sorted((folder / "04_train").glob("*.ipynb"))]:
        try:
            noted = json.loads(file.read_text(encoding="utf-8"))["metadata"].get("papermill", {})
        except (ValueError, KeyError) as error:
            raise InputError(f"{shown(file)} is damaged ({error}): delete it and run its stage again") from None
        if noted.get("duration") is not None:  # null while it runs, or if it failed
            seconds[str(file.relative_to(folder).with_suffix(""))] = round(noted["duration"], 1)
    return dict(sorted(seconds.items()))


def commit(root: Path) -> dict[str, Any]:
    """Name the commit, and whether files differ from it that the pipeline does not write."""
    excluded = [f":(exclude){path}" for path in WRITTEN_BY_RUNS]
    try:
        changed = _git(root, "status", "--porcelain", "--", ".", *excluded)
        return {"commit": _git(root, "rev-parse", "HEAD"), "dirty": bool(changed)}
    except (OSError, subprocess.CalledProcessError):  # a download without its history
        return {"commit": None, "dirty": None}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def machine() -> dict[str, Any]:
    """Describe the machine: processor, cores that may be used, memory in GB, operating system."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9, 1),
        "os": platform.platform(terse=True),
    }


def _processor() -> str:
    """Name the processor's model, as Linux knows it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("name a dataset: python -m llmesr.tools.provenance DATASET")
    try:
        noted = run(sys.argv[1])
    except InputError as problem:
        sys.exit(str(problem))
    print(f"results/{noted['dataset']}/provenance.json: {noted['total_seconds']:,.0f} s in all")
