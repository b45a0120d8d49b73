"""Tables of the main results: what the frames hold, as Markdown."""

import polars as pl
import pytest
from llmesr.errors import InputError
from llmesr.evaluate.references import REFERENCES
from llmesr.models.backbones import BACKBONES
from llmesr.models.registry import METHODS
from llmesr.paths import results
from llmesr.report import BACKBONE_NAMES, METHOD_NAMES, published, tables


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
    base={"overall": [0.10, 0.20], "tail_item": [0.02, 0.02]},
    llmesr={"overall": [0.18, 0.18], "tail_item": [0.01, 0.01]},
)
TEST = {"backbone": "sasrec", "method": "llmesr", "protocol": "full", "metric": "NDCG@10"}
NO_TESTS = pl.DataFrame([{**TEST, "against": "base", "group": "overall", "significant": False}])


def test_table_by_hand():
    lines = tables.overall(METRICS, "full", "NDCG@10").splitlines()
    assert lines[2] == "| SASRec | Base | 0.1500 ± 0.0707 | **0.0200** ± 0.0000 | – | – | – |  |"
    assert lines[3] == "| SASRec | LLM-ESR | **0.1800** ± 0.0000 | 0.0100 ± 0.0000 | – | – | – | +20.0% |"


def test_a_dagger_marks_what_differs_from_the_backbone_alone():
    tests = pl.DataFrame(
        [
            {**TEST, "against": "base", "group": "overall", "significant": True},
            {**TEST, "against": "base", "group": "tail_item", "significant": False},
            {**TEST, "against": "llmesr", "group": "tail_item", "significant": True},
        ]
    )
    line = tables.overall(METRICS, "full", "NDCG@10", tests).splitlines()[3]
    assert line == "| SASRec | LLM-ESR | **0.1800** ± 0.0000† | 0.0100 ± 0.0000 | – | – | – | +20.0% |"


def test_other_protocols_and_metrics_stay_out():
    assert len(tables.overall(METRICS, "sampled", "NDCG@10").splitlines()) == 2
    assert tables.over_seeds(METRICS, "full", "HR@10").is_empty()


def test_every_method_and_backbone_has_a_name():
    assert set(METHODS) | set(REFERENCES) == set(METHOD_NAMES)
    assert set(BACKBONES) | {"untrained"} == set(BACKBONE_NAMES)


def test_costs_are_medians_over_seeds():
    rows = [
        ("d", "sasrec", "base", seed, what, float(value), "s")
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
    assert tables.costs(timings, asked).splitlines()[2] == "| SASRec | Base | 20 | 0.50 | 200 | 2.00 | 600 | 12,345 |"


TIMINGS = pl.DataFrame(
    [
        ("sasrec", "base", seed, what, value)
        for seed, best in ((1, 5.0), (2, 3.0))
        for what, value in (("epochs", 5.0), ("best_epoch", best))
    ],
    schema=["backbone", "method", "seed", "what", "value"],
    orient="row",
)


def test_runs_that_were_best_in_their_last_epoch_are_counted():
    assert tables.unfinished(TIMINGS).startswith("1 of 2 runs were still improving when they stopped")
    assert tables.unfinished(TIMINGS.filter(seed=2)) == ""
    assert tables.unfinished(TIMINGS.filter(seed=9)) == ""


def test_published_tables_are_all_there_with_their_names():
    everything = pl.concat(
        METRICS.with_columns(protocol=pl.lit(protocol), metric=pl.lit(metric)) for protocol, metric in tables.PUBLISHED
    )
    text = tables.published(everything, NO_TESTS, TIMINGS)
    for name in ("**NDCG@10, sampled**", "**HR@10, sampled**", "**NDCG@10, full**", "**HR@10, full**"):
        assert text.count(name) == 1
    assert text.count("| SASRec | LLM-ESR | **0.1800**") == 4
    assert "† differs from the backbone alone: paired t-test over users, q < 0.05" in text


# --- the files that tables are made from ---


def test_frames_are_read_from_the_folder_of_their_stage(root):
    folder = results("shop", "ablation")
    folder.mkdir(parents=True)
    METRICS.write_csv(folder / "metrics.csv")
    assert published.load("shop", stage="ablation").equals(METRICS)


def test_missing_results_are_named(root):
    with pytest.raises(InputError, match=r"results/nope/evaluate/metrics.csv is missing: run `dvc repro evaluate` fir"):
        published.load("nope")
    with pytest.raises(InputError, match=r"results/nope/ablation/metrics.csv is missing: run `dvc repro ablation` fir"):
        published.load("nope", stage="ablation")
