"""Train many runs at a time: a worker a core, on joblib, whose engine can also be a Dask cluster."""

import os
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from multiprocessing import get_context
from pathlib import Path

import torch
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from llmesr import paths
from llmesr.errors import InputError
from llmesr.optional import optional
from llmesr.paths import shown
from llmesr.runs.store import Run, TrainedRun
from llmesr.runs.training import train
from llmesr.train.settings import TrainSettings

LOG_LINES = 5
"""Last lines of a failed run's log that are shown."""


def train_all(runs: Sequence[Run], title: str = "runs") -> list[TrainedRun]:
    """Train all runs that are not in the store, several at a time, and load all.

    A run that fails does not keep the others from being finished. A killed worker's run goes on from its last epoch.

    Args:
        runs: which ones; equal ones are trained once.
        title: of the progress bar.

    Raises:
        InputError: runs failed; the message names each, and the end of what it printed.
    """
    wanted = {run.fingerprint: run for run in runs}
    starts = {run.start.fingerprint: run.start for run in wanted.values() if run.start and not run.is_trained}
    missing = [run for run in (starts | wanted).values() if not run.is_trained]
    failed: dict[str, str] = {}
    if missing:
        with tqdm(total=len(missing), desc=title, unit="run") as bar:
            for wave in _waves(missing):
                waiting = [run for run in wave if run.start and run.start.folder.name in failed]
                failed |= _train_wave([run for run in wave if run not in waiting], bar)
                failed |= {run.folder.name: "the run that it starts from failed" for run in waiting}
    if failed:
        raise InputError(_sentence(failed, len(starts | wanted)))
    return [run.load() for run in runs]


def _waves(runs: list[Run]) -> Iterator[list[Run]]:
    """Sort runs: first those that start from nothing, then those that start from another."""
    for depth in (False, True):
        if wave := [run for run in runs if bool(run.start) == depth]:
            yield wave


def workers(settings: TrainSettings) -> int:
    """Say how many runs are trained at a time."""
    if settings.workers != "auto":
        return settings.workers
    if settings.device != "cpu" and torch.cuda.is_available():
        return torch.cuda.device_count()
    return max(1, len(os.sched_getaffinity(0)) // settings.threads)


def _train_wave(runs: list[Run], bar: tqdm) -> dict[str, str]:
    """Train runs that do not depend on each other; return what went wrong, by the run's name."""
    if not runs:
        return {}
    settings = runs[0].settings.train
    try:
        with _engine(settings.backend):
            pool = _Progress(n_jobs=min(workers(settings), len(runs)))
            pool.bar, pool.before = bar, bar.n
            errors = pool(delayed(_train_one)(run, paths.ROOT) for run in runs)
    except TerminatedWorkerError:  # killed, or out of memory: joblib does not say which run it was
        left = [run for run in runs if not run.is_trained]
        begun = [run for run in left if (run.folder / "log.txt").exists()] or left
        failed, seen = _one_by_one(begun, bar), {run.fingerprint for run in begun}
        rest = [run for run in left if run.fingerprint not in seen]
        return failed | (_train_wave if len(rest) > 1 else _one_by_one)(rest, bar)  # never in this process
    return {run.folder.name: error for run, error in zip(runs, errors, strict=True) if error}


def _one_by_one(runs: list[Run], bar: tqdm) -> dict[str, str]:
    """Train runs alone, each in a process of its own, so that one whose process dies again is known."""
    failed = {}
    for run in runs:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            try:
                error = alone.submit(_train_one, run, paths.ROOT).result()
            except BrokenProcessPool:
                error = f"its process died, perhaps for lack of memory{_log_end(run)}"
        if error:
            failed[run.folder.name] = error
        bar.n += 1
        bar.refresh()
    return failed


def _train_one(run: Run, root: Path) -> str | None:
    """Train one run in a worker; return what went wrong."""
    paths.ROOT = root
    log = run.folder / "log.txt"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as stream, redirect_stdout(stream), redirect_stderr(stream):
            try:
                train(run)
            except Exception:
                traceback.print_exc(file=stream)
                raise
    except InputError as error:
        return str(error)
    except OSError as error:
        return f"{shown(log.parent)} cannot be written ({error}): make the folder writable"
    except Exception as error:
        return f"{type(error).__name__}: {error}{_log_end(run)}"
    return None


def _log_end(run: Run) -> str:
    log = run.folder / "log.txt"
    lines = log.read_text(encoding="utf-8").splitlines()[-LOG_LINES:] if log.exists() else []
    return f"; {shown(log)} ends with: {' / '.join(lines)}" if lines else ""


def _sentence(failed: dict[str, str], total: int) -> str:
    reasons = "; ".join(f"{name}: {error}" for name, error in failed.items())
    return f"{len(failed)} of {total} runs failed, the others are finished. {reasons}"


class _Progress(Parallel):
    """joblib's pool, with a bar of the runs that are done."""

    bar: tqdm
    before: int

    def print_progress(self) -> None:
        """Move the bar, when joblib would print a line."""
        self.bar.n = self.before + self.n_completed_tasks
        self.bar.refresh()


@contextmanager
def _engine(backend: str) -> Iterator[None]:
    """Let joblib work on an engine.

    Raises:
        InputError: it is not installed, or its workers train several runs in one process.
    """
    with _dask() if backend == "dask" else nullcontext(), parallel_config(backend=backend):
        yield


@contextmanager
def _dask() -> Iterator[None]:
    """Work on the Dask cluster of this process, the one at `DASK_ADDRESS`, or new workers of this machine."""
    with optional("cluster"):
        from dask.distributed import Client, get_client
    with ExitStack() as stack:
        try:
            client = get_client()
        except ValueError:  # there is none yet
            address = os.environ.get("DASK_ADDRESS")
            local = {"threads_per_worker": 1, "dashboard_address": None}
            client = stack.enter_context(Client(address) if address else Client(**local))
        if any(threads > 1 for threads in client.nthreads().values()):  # PyTorch's random numbers are a process's
            raise InputError("a Dask worker has several threads: start workers with `dask worker --nthreads 1`")
        yield
