"""A cluster trains the same runs as this machine's own workers: here, a Dask cluster of two workers on this machine."""

from collections.abc import Callable

import pytest
from helpers import same_weights
from llmesr import paths
from llmesr.errors import InputError
from llmesr.runs.pool import train_all
from llmesr.runs.store import Run

pytestmark = pytest.mark.slow

distributed = pytest.importorskip("distributed")


def cluster(workers: int, threads: int) -> distributed.LocalCluster:
    return distributed.LocalCluster(n_workers=workers, threads_per_worker=threads, dashboard_address=None)


def test_a_cluster_trains_what_the_workers_here_train(
    run_of: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = train_all([run_of(method="base"), run_of(method="llmesr")])
    monkeypatch.setattr(paths, "ROOT", paths.ROOT / "cluster")  # another run store, empty
    runs = [run_of(method=method, changes={"train.backend": "dask"}) for method in ("base", "llmesr")]
    assert not any(run.is_trained for run in runs)
    with cluster(workers=2, threads=1) as two, distributed.Client(two):
        there = train_all(runs)
    assert all(same_weights(one.method, other.method) for one, other in zip(here, there, strict=True))
    assert [run.account["fingerprint"] for run in here] == [run.account["fingerprint"] for run in there]
    assert len(list((paths.ROOT / "runs" / "tiny" / "trained").glob("*/run.json"))) == 2


def test_workers_with_several_threads_are_refused(run_of: Callable[..., Run]) -> None:
    with cluster(workers=1, threads=2) as one, distributed.Client(one), pytest.raises(InputError, match="--nthreads 1"):
        train_all([run_of(changes={"train.backend": "dask"})])
