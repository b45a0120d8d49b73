"""The published numbers beside ours."""

import shutil

import polars as pl
import pytest
from helpers import ROOT
from llmesr.errors import InputError
from llmesr.paths import results
from llmesr.report import paper


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


def test_dumbbells_reach_from_the_backbone_alone_to_the_method_and_are_pale_if_not_verified():
    theirs = paper.published().filter(source=paper.PAPER)
    ours = frame([("base", "overall", [0.2, 0.4]), ("llmesr", "overall", [0.5])])
    overall, tail = paper.dumbbells(theirs, ours, "llmesr", "NDCG@10").axes
    rows = {text.get_text(): place for place, text in zip(overall.get_yticks(), overall.get_yticklabels(), strict=True)}
    lines = {line.get_ydata()[0]: line for line in overall.lines if len(line.get_xdata()) == 2}
    assert list(lines[rows["paper: yelp, SASRec"]].get_xdata()) == [0.3597, 0.4208]
    assert lines[rows["paper: yelp, SASRec"]].get_alpha() == 1
    assert lines[rows["paper: yelp, GRU4Rec"]].get_alpha() < 1
    assert list(lines[rows["here: d, SASRec"]].get_xdata()) == pytest.approx([0.3, 0.5])
    assert rows["here: d, SASRec"] not in {line.get_ydata()[0] for line in tail.lines}  # not measured


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


@pytest.fixture
def with_published(root):
    """A temporary root that has the published figures."""
    (root / "results").mkdir()
    shutil.copy(ROOT / "results" / "published.csv", root / "results")


def measured(name, file, rows, columns):
    """Write `results/<name>/fidelity/<file>.csv` at NDCG@10."""
    folder = results(name, "fidelity")
    folder.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame(rows, schema=[*columns, "protocol", "group", "value"], orient="row")
    frame.with_columns(metric=pl.lit("NDCG@10")).write_csv(folder / f"{file}.csv")


def test_our_rows_on_the_papers_interactions_stand_beside_the_published_ones(with_published):
    columns = ["variant", "backbone", "method"]
    rows = [
        ("ours", "sasrec", "base", "sampled", "overall", 0.39),
        ("ours", "sasrec", "base", "full", "overall", 0.01),
        ("as the authors' code", "sasrec", "base", "sampled", "overall", 0.37),
        ("ours", "gru4rec", "melt", "sampled", "overall", 0.3),
    ]
    for name in ("paper-yelp", "paper-fashion"):
        measured(name, "metrics", rows, columns)
    lines = paper.own_interactions("NDCG@10").splitlines()
    assert "| yelp | SASRec | Base | overall | 0.3597 | 0.3900 | 0.3700 |" in lines
    assert "| yelp | SASRec | LLM-ESR | overall | 0.4208 | – | – |" in lines
    assert "| fashion | SASRec | Base | overall | 0.4429 | 0.3900 | 0.3700 |" in lines
    assert not [line for line in lines if "MELT" in line or "head" in line]  # not both, or not asked


def test_another_implementation_stands_beside_ours(root):
    rows = [
        ("bce", system, seed, protocol, group, value + seed / 100)
        for system, value in (("ours", 0.3), ("RecTools", 0.2))
        for seed in (0, 2)
        for protocol in ("sampled", "full")
        for group in ("overall", "tail_item")
    ]
    measured("shop", "rectools", rows, ["loss", "system", "seed"])
    lines = paper.independent("shop", "NDCG@10").splitlines()
    cell = "0.3100 ± 0.0141"
    assert lines[2] == f"| one negative | ours | {' | '.join([cell] * 4)} |"
    assert lines[3].startswith("| one negative | RecTools | 0.2100 ± 0.0141 |")


@pytest.mark.parametrize(
    ("table", "command"),
    [
        (lambda: paper.own_interactions("NDCG@10"), "python -m benchmarks.fidelity"),
        (lambda: paper.independent("shop", "NDCG@10"), "python -m benchmarks.rectools"),
    ],
)
def test_what_was_not_measured_names_the_command(with_published, table, command):
    with pytest.raises(InputError, match=f"is missing: run `{command}` first"):
        table()
