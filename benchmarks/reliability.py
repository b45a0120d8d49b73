"""`python -m benchmarks.reliability`: break the pipeline in many ways, run it again, and compare what comes out.

Everything happens in a clone of this repository in a temporary folder, on the tiny dataset with two methods. The table
of what was tried, and what happened, becomes the page `docs/reliability.md`.
"""

import argparse
import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from llmesr.paths import ROOT, embedding_cache

STAGES = ("prepare", "embed", "retrieve", "train", "evaluate", "overall")
TARGETS = ("overall", "long_tail")
DATASET = "tiny-shop"
MATRIX = {"backbones": ["sasrec"], "methods": ["base", "llmesr"], "seeds": [42, 43]}
KILOBYTES = 32
"""What a file may have where the disk is said to be full."""
LIMIT = 1800.0
"""Seconds that any run of the pipeline may take."""


@dataclass(frozen=True)
class Trial:
    """What was tried, how often, and what happened."""

    tried: str
    times: int
    happened: str


class Project:
    """A clone of the repository in which the tiny dataset's pipeline runs."""

    def __init__(self, folder: Path, epochs: int) -> None:
        self.folder, self.finished = folder, folder.with_name("finished")
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        shutil.rmtree(folder / "data", ignore_errors=True)
        (folder / "data").symlink_to(ROOT / "data", target_is_directory=True)
        file = folder / "params.yaml"
        settings = yaml.safe_load(file.read_text()) | {"dataset": DATASET, "matrix": MATRIX}
        settings["train"]["epochs"] = epochs
        file.write_text(yaml.safe_dump(settings, sort_keys=False))
        if embedding_cache().exists():  # the language model is not what is tried here
            shutil.copytree(embedding_cache(), folder / "runs" / "embedding-cache")

    def keep(self) -> None:
        """Keep a copy of the finished project."""
        shutil.copytree(self.folder, self.finished, symlinks=True)

    def restore(self) -> None:
        """Go back to the finished project."""
        shutil.rmtree(self.folder)
        shutil.copytree(self.finished, self.folder, symlinks=True)

    def start(self, targets: tuple[str, ...] = TARGETS) -> subprocess.Popen:
        """Begin `dvc repro`, in a process group of its own."""
        return self.shell(f"exec dvc repro {' '.join(targets)}")

    def shell(self, command: str) -> subprocess.Popen:
        """Begin a command in the project's folder, in a process group of its own."""
        bin_folder = Path(sys.executable).parent
        return subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.folder,
            env={**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHONPATH": str(self.folder / "lib")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def repro(self) -> tuple[int, str]:
        """Run `dvc repro` to its end: exit code and what it printed."""
        return _ended(self.start())

    def stage(self, name: str, limit_kilobytes: int) -> tuple[int, str]:
        """Run the command of a stage while no file may grow beyond a limit: exit code and what it printed."""
        command = yaml.safe_load((self.folder / "dvc.yaml").read_text())["stages"][name]["cmd"]
        command = command.replace("${item.dataset}", DATASET).replace("${item.method}", MATRIX["methods"][-1])
        return _ended(self.shell(f"ulimit -f {limit_kilobytes}; {command}"))

    def clear(self) -> None:
        """Forget everything but the embedding cache."""
        for name in ("artifacts", f"results/{DATASET}", f"runs/{DATASET}"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in ("dvc.lock", ".dvc/tmp"):
            path = self.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def digest(self) -> str:
        """Identify the published numbers: a hash of all tables but that of seconds."""
        tables = sorted((self.folder / "results" / DATASET).rglob("*.csv"))
        tables = [file for file in tables if file.name != "timings.csv"]
        return hashlib.sha256(b"".join(file.read_bytes() for file in tables)).hexdigest() if tables else "nothing"


def kills(project: Project, expected: str, seconds: float, times: int) -> Trial:
    """Kill everything with SIGKILL at random moments, run it again, and compare."""
    chance, same = random.Random(0), 0
    for _ in range(times):
        project.clear()
        process = project.start()
        try:
            process.communicate(timeout=chance.uniform(0.02, 0.98) * seconds)
        except subprocess.TimeoutExpired:
            _kill_all(process)
        code, _ = project.repro()
        same += code == 0 and project.digest() == expected
        print(f"killed: {same} the same", flush=True)
    return Trial("`kill -9` of all processes at a random moment, then `dvc repro`", times, f"{same} identical results")


def _ended(process: subprocess.Popen) -> tuple[int, str]:
    printed, _ = process.communicate(timeout=LIMIT)
    return process.returncode, printed


def _kill_all(process: subprocess.Popen) -> None:
    """Kill a process and all below it, those that made a group of their own among them."""
    below = [process.pid]
    for pid in below:
        listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout
        below += map(int, listed.split())
    for pid in below:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.communicate()


def dead_worker(project: Project, expected: str) -> Trial:
    """Kill one worker of the pool while it trains."""
    project.clear()
    process = project.start(("train",))
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline and process.poll() is None:
        found = subprocess.run(["pgrep", "-f", "popen_loky_posix"], capture_output=True, text=True).stdout.split()
        own = [pid for pid in found if _environment(pid).get("PYTHONPATH") == str(project.folder / "lib")]
        if own and list((project.folder / "runs" / DATASET / "trained").glob("*/checkpoint.pt")):
            os.kill(int(own[0]), signal.SIGKILL)
            break
        time.sleep(0.05)
    code, printed = _ended(process)
    said = f"“{_sentence(printed)}”" if code else "the run is trained again, and the stage goes on to its end"
    code, _ = project.repro()
    same = "identical results" if code == 0 and project.digest() == expected else "**other results**"
    return Trial("a worker of the pool is killed while it trains", 1, f"{said}; run again: {same}")


def _environment(pid: str) -> dict[str, str]:
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(part.split("=", 1) for part in content.split("\0") if "=" in part)


def full_disk(project: Project, expected: str, stage: str) -> Trial:
    """Let no file grow beyond some kilobytes while one stage runs anew, then run the pipeline without that limit."""
    project.restore()
    if stage == "train":
        shutil.rmtree(project.folder / "runs" / DATASET / "trained")
    code, printed = project.stage(stage, KILOBYTES)
    said = f"“{_sentence(printed)}”" if code else f"no file of this stage has {KILOBYTES} kB"
    code, _ = project.repro()
    same = "identical results" if code == 0 and project.digest() == expected else "**other results**"
    return Trial(f"the disk is full in stage `{stage}`", 1, f"{said}; run again: {same}")


def _sentence(printed: str) -> str:
    """Find the sentence that a stage ended with."""
    lines = [line for line in printed.splitlines() if re.match(r"\d\d_\w+\.ipynb\b", line)]
    lines = lines or [line for line in printed.splitlines() if line.startswith("ERROR") or "Error: " in line]
    said = lines[-1] if lines else (printed.strip().splitlines() or ["nothing"])[-1]
    said = re.sub(r"/\S+/project/", "", said)
    return (f"{said[:197]}…" if len(said) > 200 else said).replace("|", "/")


def damage(project: Project, expected: str, what: str, spoil: Callable[[Path], None]) -> Trial:
    """Spoil something in a finished project, run it again, and compare."""
    project.restore()
    spoil(project.folder)
    shutil.rmtree(project.folder / "results" / DATASET)
    code, printed = project.repro()
    if code == 0:
        return Trial(what, 1, "identical results" if project.digest() == expected else "**other results**")
    return Trial(what, 1, f"“{_sentence(printed)}”")


def _halve(pattern: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        file = sorted(folder.glob(pattern))[0]
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    return spoil


def _remove(pattern: str) -> Callable[[Path], None]:
    return lambda folder: sorted(folder.glob(pattern))[0].unlink()


def _future(folder: Path) -> None:
    """Date everything a year ahead, as if the clock had gone back since."""
    ahead = time.time() + 365 * 86_400
    for part in ("artifacts", "runs", "results"):
        for file in (folder / part).rglob("*"):
            os.utime(file, (ahead, ahead))


def _lock(folder: Path) -> None:
    (folder / ".dvc" / "tmp").mkdir(parents=True, exist_ok=True)
    (folder / ".dvc" / "tmp" / "rwlock").write_text('{"half":')


DAMAGES = {
    "a trained run lost half of its weights": _halve("runs/*/trained/*/weights.safetensors"),
    "a trained run lost half of its account": _halve("runs/*/trained/*/run.json"),
    "a trained run lost its weights": _remove("runs/*/trained/*/weights.safetensors"),
    "an artifact lost half of its bytes": _halve("artifacts/*/prepare/train.parquet"),
    "an artifact is gone": _remove("artifacts/*/embed/embeddings.safetensors"),
    "the clock goes back by a year": _future,
    "DVC's own lock file is damaged": _lock,
}


def main() -> None:
    """Try everything and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__.partition(":")[2])
    parser.add_argument("--kills", type=int, default=20, help="random moments (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=6, help="of each run (default: %(default)s)")
    asked = parser.parse_args()
    trials = []
    with TemporaryDirectory() as folder:
        project = Project(Path(folder) / "project", asked.epochs)
        project.clear()
        begun = time.monotonic()
        code, printed = project.repro()
        seconds, expected = time.monotonic() - begun, project.digest()
        if code:
            sys.exit(f"the pipeline does not run:\n{printed}")
        project.keep()
        print(f"undisturbed: {seconds:.0f} s", flush=True)
        steps: list[Callable[[], Trial]] = [lambda: dead_worker(project, expected)]
        steps += [lambda stage=stage: full_disk(project, expected, stage) for stage in STAGES]
        steps += [
            lambda what=what, spoil=spoil: damage(project, expected, what, spoil) for what, spoil in DAMAGES.items()
        ]
        steps += [lambda: kills(project, expected, seconds, asked.kills)]
        for step in steps:
            trials.append(step())
            print(f"{trials[-1].tried}: {trials[-1].happened}", flush=True)
        write(trials, seconds, project.folder)


def write(trials: list[Trial], seconds: float, clone: Path) -> None:
    """Write the page, with the commit of the clone in which all was tried."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=clone, capture_output=True, text=True).stdout
    rows = "\n".join(f"| {trial.tried} | {trial.times} | {trial.happened} |" for trial in trials)
    about = (
        "What happens when something goes wrong in the middle. `python -m benchmarks.reliability` breaks the pipeline "
        "of the tiny dataset (two methods on SASRec, two seeds), runs it again, and compares all tables with those of "
        f"an undisturbed run ({seconds:.0f} seconds). Measured at commit {commit.strip()}."
    )
    head = "| Tried | Times | What happened |\n| --- | --- | --- |"
    page = f"# Reliability\n\n{about}\n\n{head}\n{rows}\n"
    (ROOT / "docs" / "reliability.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
