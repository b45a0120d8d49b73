"""The rows that need no text, on a small `inter.txt`."""

import argparse

import polars as pl
import pytest
from llmesr.paths import results

from benchmarks import fidelity


@pytest.mark.slow
def test_each_backbone_is_measured_as_ours_and_where_it_differs_as_the_authors(root, tmp_path):
    folder = tmp_path / "inter"
    folder.mkdir()
    pairs = [f"{user} {1 + (user + step) % 8}" for user in range(1, 31) for step in range(5)]
    (folder / "inter.txt").write_text("\n".join(pairs) + "\n")
    params = tmp_path / "params.yaml"
    params.write_text(
        f"datasets: {{small: {{format: inter-txt, folder: '{folder}', tail_item_counts: all}}}}\n"
        "model: {hidden: 8}\ntrain: {epochs: 1, workers: 1}\nprepare: {negatives: 3}\n"
    )
    asked = argparse.Namespace(params=str(params), backbones="sasrec,bert4rec", methods="base", seeds="42")
    fidelity.measure("small", asked)
    found = pl.read_csv(results("small", "fidelity") / "metrics.csv")
    rows = set(found.select("variant", "backbone").iter_rows())
    assert rows == {("ours", "sasrec"), ("ours", "bert4rec"), ("as the authors' code", "sasrec")}
    values = found.filter(group="overall", metric="NDCG@10", protocol="sampled")["value"]
    assert values.is_between(0, 1).all()
    assert set(found.filter(group="overall", metric="users")["value"]) == {30.0}
