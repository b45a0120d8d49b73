"""Your numbers beside the published ones: the same within seed noise, or named."""

import subprocess

import polars as pl
import pytest
from llmesr.errors import InputError
from llmesr.paths import results
from llmesr.tools import verify


def frame(values, method="base", group="overall", metric="NDCG@10"):
    rows = [("sasrec", method, seed, "sampled", group, metric, value) for seed, value in enumerate(values)]
    return pl.DataFrame(
        rows, schema=["backbone", "method", "seed", "protocol", "group", "metric", "value"], orient="row"
    )


@pytest.mark.parametrize(
    ("mine", "same"),
    [
        ([0.30, 0.32], True),
        ([0.32, 0.34], True),  # .02 apart; the standard error of the difference is √(.01² + .01²) = .0141
        ([0.34, 0.36], False),
        ([0.31, 0.31], True),
    ],
)
def test_a_mean_is_the_same_within_two_standard_errors(mine, same):
    (row,) = verify.compare(frame([0.30, 0.32]), frame(mine)).iter_rows(named=True)
    assert row["same"] is same
    assert row["published"] == pytest.approx(0.31)


def test_one_seed_must_be_equal():
    assert verify.compare(frame([0.3]), frame([0.3]))["same"].all()
    assert not verify.compare(frame([0.3]), frame([0.301]))["same"].any()


def test_other_metrics_groups_and_rows_that_one_side_lacks_are_left_out():
    theirs = pl.concat(
        [frame([0.3]), frame([0.3], metric="HR@10"), frame([0.3], group="head_user"), frame([0.3], "melt")]
    )
    assert verify.compare(theirs, frame([0.3])).height == 1


def test_what_differs_is_named_above_the_sentence():
    theirs, mine = (pl.concat([frame([value]), frame([0.1], "melt", "tail_item")]) for value in (0.3, 0.4))
    assert verify.told(verify.compare(theirs, mine)).splitlines() == [
        "SASRec Base, sampled, overall: 0.3000 published, 0.4000 yours, standard error 0.0000",
        "1 of 2 means of NDCG@10 are within 2 standard errors of the published ones.",
    ]


def test_published_is_what_the_last_commit_has(root, monkeypatch):
    monkeypatch.setattr(verify, "ROOT", root)
    for command in (["init", "-q"], ["config", "user.email", "a@b.c"], ["config", "user.name", "A"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    with pytest.raises(
        InputError, match=r"no numbers are published for shop .results/shop/evaluate/metrics.csv is not in git"
    ):
        verify.committed("shop")
    file = results("shop", "evaluate") / "metrics.csv"
    file.parent.mkdir(parents=True)
    frame([0.3]).write_csv(file)
    for command in (["add", "-A"], ["commit", "-qm", "published"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    frame([0.4]).write_csv(file)
    assert verify.committed("shop")["value"].to_list() == [0.3]
