"""The published numbers beside ours."""

import polars as pl
import pytest
from llmesr.report import paper
from matplotlib.figure import Figure


def frame(rows):
    """Rows (method, group, values of the seeds) at sampled, NDCG@10."""
    columns = ["dataset", "backbone", "method", "seed", "protocol", "group", "metric", "value"]
    tidy = [
        ("d", "sasrec", method, seed, "sampled", group, "NDCG@10", value)
        for method, group, values in rows
        for seed, value in enumerate(values)
    ]
    return pl.DataFrame(tidy, schema=columns, orient="row")


def test_gains_by_hand():
    found = paper.gains(
        frame(
            [
                ("base", "overall", [0.1, 0.3]),
                ("llmesr", "overall", [0.3, 0.3]),
                ("base", "head_item", [0.5, 0.5]),
                ("no-fusion", "overall", [0.9, 0.9]),
            ]
        ),
        "NDCG@10",
    )
    assert found.select("method", "group", "gain").rows() == [("llmesr", "overall", pytest.approx(0.5))]


def test_published_figures_are_those_of_the_paper():
    """LLM-ESR on Yelp with SASRec: 0.3597 to 0.4208 overall, 0.0495 to 0.0845 on tail items."""
    theirs = paper.gains(paper.published().filter(source=paper.PAPER), "NDCG@10")
    found = theirs.filter(dataset="yelp", backbone="sasrec", method="llmesr").sort("group")
    assert found["gain"].to_list() == pytest.approx([0.4208 / 0.3597 - 1, 0.0845 / 0.0495 - 1])
    lines = paper.table(theirs, theirs).splitlines()
    assert "| Liu et al. 2024 | yelp | SASRec | LLM-ESR | +17.0% | +70.7% |" in lines
    assert "| Liu et al. 2024 | yelp | SASRec | CITIES | (-1.6%) | (+41.4%) |" in lines  # not verified
    assert "| Liu et al. 2024 | yelp | GRU4Rec | LLM-ESR | (+24.1%) | (+439.0%) |" in lines  # nor its row of the base
    assert isinstance(paper.bars(theirs, theirs, "llmesr"), Figure)


def test_the_same_dataset_stands_beside_the_papers_values():
    ours = frame([("base", "overall", [0.2, 0.4]), ("cities", "tail_item", [0.05]), ("multiview", "overall", [0.9])])
    lines = paper.side_by_side(ours.with_columns(dataset=pl.lit("yelp")), "NDCG@10").splitlines()
    assert lines[2:] == [
        "| SASRec | Base | overall | 0.3597 | 0.3000 ± 0.1414 |",
        "| SASRec | CITIES | tail item | (0.0700) | 0.0500 |",
    ]
    assert paper.side_by_side(ours, "NDCG@10") == "The paper has no row of d: only gains can be compared."


def test_published_groups_recombine():
    """Head and tail of the paper's own rows, weighted by one share for each dataset, give the overall mean."""
    whole = paper.published().filter(source=paper.PAPER, metric="NDCG@10", verified="yes")
    wide = whole.pivot("group", index=["dataset", "backbone", "method"], values="value").drop_nulls("tail_item")
    share = (wide["overall"] - wide["tail_item"]) / (wide["head_item"] - wide["tail_item"])
    spread = (
        wide.with_columns(share.alias("share")).group_by("dataset").agg(pl.col("share").max() - pl.col("share").min())
    )
    assert spread["share"].max() < 0.01


def test_ablation_beside_the_papers():
    metrics = frame([("full", "overall", [0.2, 0.4]), ("no-fusion", "overall", [0.25, 0.25])])
    lines = paper.ablation(metrics, {"full": "LLM-ESR", "no-fusion": "w/o cross-attention"}, "NDCG@10").splitlines()
    assert lines[2:] == ["| LLM-ESR | 0.4208 | 0.4217 | 0.3000 |", "| w/o cross-attention | 0.4160 | 0.4157 | 0.2500 |"]


def test_a_dataset_without_tail_cases_has_a_dash_for_them():
    found = paper.gains(frame([("base", "overall", [0.1]), ("llmesr", "overall", [0.2])]), "NDCG@10")
    assert paper.table(found, found).splitlines()[-1] == "| here | d | SASRec | LLM-ESR | +100.0% | – |"
