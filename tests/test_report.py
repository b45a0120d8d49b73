"""Stages 06 and later: tables and figures say what the frames hold."""

import subprocess

import polars as pl
import pytest
from llmesr import published
from llmesr.errors import InputError
from llmesr.evaluate.references import REFERENCES
from llmesr.models.backbones import BACKBONES
from llmesr.models.methods import METHODS
from llmesr.paths import ROOT, results
from llmesr.plotting import save
from llmesr.prepare.look import distributions
from llmesr.report import BACKBONE_NAMES, METHOD_NAMES, figures, readme, tables
from matplotlib.figure import Figure


def frame(**values):
    """Rows of one backbone and protocol: method → group → values of the seeds."""
    rows = [
        ("d", "sasrec", method, 42 + i, "full", group, "NDCG@10", value)
        for method, groups in values.items()
        for group, seeds in groups.items()
        for i, value in enumerate(seeds)
    ]
    columns = ["dataset", "backbone", "method", "seed", "protocol", "group", "metric", "value"]
    return pl.DataFrame(rows, schema=columns, orient="row")


METRICS = frame(
    none={"overall": [0.10, 0.20], "tail_item": [0.02, 0.02]},
    llmesr={"overall": [0.18, 0.18], "tail_item": [0.01, 0.01]},
)


def test_table_by_hand():
    lines = tables.overall(METRICS, "full", "NDCG@10").splitlines()
    assert lines[2] == "| SASRec | None | 0.1500 ± 0.0707 | **0.0200** ± 0.0000 | – | – | – |  |"
    assert lines[3] == "| SASRec | LLM-ESR | **0.1800** ± 0.0000 | 0.0100 ± 0.0000 | – | – | – | +20.0% |"


def test_a_dagger_marks_what_differs_from_the_plain_backbone():
    test = {"backbone": "sasrec", "method": "llmesr", "protocol": "full", "metric": "NDCG@10"}
    tests = pl.DataFrame(
        [
            {**test, "against": "none", "group": "overall", "significant": True},
            {**test, "against": "none", "group": "tail_item", "significant": False},
            {**test, "against": "llmesr", "group": "tail_item", "significant": True},
        ]
    )
    line = tables.overall(METRICS, "full", "NDCG@10", tests).splitlines()[3]
    assert line == "| SASRec | LLM-ESR | **0.1800** ± 0.0000† | 0.0100 ± 0.0000 | – | – | – | +20.0% |"


def test_other_protocols_and_metrics_stay_out():
    assert len(tables.overall(METRICS, "sampled100", "NDCG@10").splitlines()) == 2
    assert tables.over_seeds(METRICS, "full", "HR@10").is_empty()


def test_every_method_and_backbone_has_a_name():
    assert set(METHODS) | set(REFERENCES) == set(METHOD_NAMES)
    assert set(BACKBONES) | {"untrained"} == set(BACKBONE_NAMES)


def test_costs_are_medians_over_seeds():
    rows = [
        ("d", "sasrec", "none", seed, what, float(value), "s")
        for seed in (1, 2, 3)
        for what, value in {
            "epochs": 10 * seed,
            "seconds_per_epoch": seed / 4,
            "train_seconds": seed * 100,
            "evaluate_seconds": 0.5,
            "peak_rss_mb": 600,
            "parameters": 12345,
        }.items()
    ]
    timings = pl.DataFrame(
        rows, schema=["dataset", "backbone", "method", "seed", "what", "value", "unit"], orient="row"
    )
    asked = pl.DataFrame({"metric": ["users", "users"], "group": ["overall", "tail_item"], "value": [250.0, 50.0]})
    assert tables.costs(timings, asked).splitlines()[2] == "| SASRec | None | 20 | 0.50 | 200 | 2.00 | 600 | 12,345 |"


def test_figure_has_a_bar_a_method_and_group_with_its_mean():
    figure = figures.by_group(METRICS, "full", "NDCG@10", {"": {"overall": "All", "tail_item": "Tail"}}, "Title")
    heights = sorted(round(patch.get_height(), 4) for patch in figure.axes[0].patches if patch.get_height() > 0)
    assert heights == [0.01, 0.02, 0.15, 0.18]
    assert figure.axes[0].get_ylabel() == "NDCG@10 (full)"


def test_same_figure_same_bytes(tmp_path, data):
    def draw(name):
        figure = distributions(data.users, data.items, data.card)
        assert isinstance(figure, Figure)
        save(figure, tmp_path / name)
        return (tmp_path / name).read_bytes()

    assert draw("a.png") == draw("b.png")


def test_missing_results_are_named(root):
    with pytest.raises(InputError, match=r"results/nope/metrics.csv is missing: run `dvc repro evaluate` first"):
        published.load("nope")


def test_pages_show_what_results_hold():
    published = ["git", "diff", "--quiet", "HEAD", "--", "results", "README.md"]
    if subprocess.run(published, cwd=ROOT).returncode:
        pytest.skip("results/ or README.md are not the committed ones: `make readme` writes the tables anew")
    pages = [page.read_text(encoding="utf-8") for page in readme.PAGES]
    assert readme.filled(pages) == pages, "a page's tables are not those of results/: run `make readme`"


def test_a_page_without_its_marks_is_an_error():
    with pytest.raises(InputError, match=r"no page has the mark '<!-- results: datasets -->'"):
        readme.filled(["# Nothing here"])


def test_a_page_that_asks_for_what_is_not_there_is_an_error():
    with pytest.raises(InputError, match=r"a page asks for 'nope' of results/, which is none of datasets, "):
        readme.filled(["<!-- results: nope -->\n<!-- end -->"])


def test_short_table_by_hand(root):
    folder = results("shop")
    folder.mkdir(parents=True)
    rows = [
        (backbone, method, seed, protocol, group, value)
        for protocol, scale in (("sampled100", 1.0), ("full", 0.1))
        for backbone, method, seed, *values in (
            ("untrained", "popularity", 0, 0.3, 0.0),
            ("gru4rec", "none", 42, 0.2, 0.1),
            ("gru4rec", "none", 43, 0.3, 0.2),
            ("sasrec", "none", 42, 0.4, 0.0),
            ("sasrec", "llmesr", 42, 0.35, 0.1),
        )
        for group, value in zip(("overall", "tail_item"), [value * scale for value in values], strict=True)
    ]
    columns = ["backbone", "method", "seed", "protocol", "group", "value"]
    frame = pl.DataFrame(rows, schema=columns, orient="row").with_columns(
        dataset=pl.lit("shop"), metric=pl.lit("NDCG@10")
    )
    frame.write_csv(folder / "metrics.csv")
    assert readme.short_table("shop").splitlines() == [
        "| Method | GRU4Rec, of 100 | SASRec, of 100 | GRU4Rec, of all | SASRec, of all |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| Popularity | **0.3000** / 0.0000 | 0.3000 / 0.0000 | **0.0300** / 0.0000 | 0.0300 / 0.0000 |",
        "| None | 0.2500 / **0.1500** | **0.4000** / 0.0000 | 0.0250 / **0.0150** | **0.0400** / 0.0000 |",
        "| LLM-ESR | – / – | 0.3500 / **0.1000** | – / – | 0.0350 / **0.0100** |",
    ]
