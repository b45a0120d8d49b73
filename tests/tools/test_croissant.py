"""The metadata of the published numbers: valid, of the files that are there, and readable as records."""

import json
from itertools import islice

import mlcroissant as mlc
from helpers import ROOT
from llmesr.tools import croissant

OURS, PAPERS = "shop-evaluate-metrics", "published"


def test_the_numbers_are_read_as_records(tmp_path, monkeypatch):
    (tmp_path / "shop" / "evaluate").mkdir(parents=True)
    (tmp_path / "tiny" / "evaluate").mkdir(parents=True)
    header = "dataset,backbone,method,seed,protocol,group,metric,value\n"
    for name in ("shop", "tiny"):
        (tmp_path / name / "evaluate" / "metrics.csv").write_text(
            f"{header}{name},sasrec,base,42,full,overall,HR@10,0.5\n"
        )
    (tmp_path / "published.csv").write_text("source,dataset,metric,value,verified\nLiu et al.,yelp,HR@10,0.594,yes\n")
    monkeypatch.setattr(croissant, "FILE", tmp_path / "croissant.json")
    croissant.main()
    dataset = mlc.Dataset(str(tmp_path / "croissant.json"))
    assert not dataset.metadata.issues.errors
    assert [records.name for records in dataset.metadata.record_sets] == [PAPERS, OURS]  # the tiny shop is no result
    (row,) = islice(dataset.records(OURS), 2)
    assert (row[f"{OURS}/seed"], row[f"{OURS}/value"], row[f"{OURS}/group"]) == (42, 0.5, b"overall")
    (row,) = islice(dataset.records(PAPERS), 2)
    assert row[f"{PAPERS}/value"] == 0.594


def test_what_is_described_in_git_is_there():
    described = json.loads((ROOT / "results" / "croissant.json").read_text())["distribution"]
    assert "complete-journey/evaluate/metrics.csv" in {file["contentUrl"] for file in described}
    assert all((ROOT / "results" / file["contentUrl"]).exists() for file in described)
