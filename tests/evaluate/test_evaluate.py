"""Stage 05: the test split, ranks, the published frames."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from helpers import T, V, context_of
from llmesr import evaluate, paths, prepare
from llmesr.errors import InputError
from llmesr.evaluate import rank_reference, rank_run
from llmesr.evaluate.groups import families
from llmesr.evaluate.references import REFERENCES
from llmesr.metrics import ndcg
from llmesr.models.scoring import Scorer
from llmesr.paths import artifact, results
from llmesr.prepare.groups import edge_names
from llmesr.report.tables import GROUPS
from llmesr.runs import pool
from llmesr.runs.matrix import matrix_runs
from llmesr.runs.store import Run, TrainedRun

MATRIX = {"matrix.backbones": ["sasrec", "bert4rec"], "matrix.methods": ["base", "llmesr"], "matrix.seeds": [1, 2]}
SMALL = {"matrix.backbones": ["sasrec"], "matrix.methods": ["base"], "matrix.seeds": [1]}
FAST = {"train.epochs": 1, "train.workers": 1}
PROTOCOLS = ("sampled", "full")


@pytest.fixture
def evaluated(tiny, data, inputs):
    """Evaluate a matrix with some settings changed; what the store lacks is trained for an epoch."""

    def run(changes=None, matrix=SMALL):
        settings = tiny.changed({**FAST, **matrix, **(changes or {})})
        return evaluate.run(settings, data, matrix_runs(settings, data, inputs))

    return run


@pytest.fixture(scope="module")
def published(tiny, prepared, inputs, tmp_path_factory):
    """The matrix, evaluated once: the frames, and the folders that it has written to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", tmp_path_factory.mktemp("evaluated"))
        shutil.copytree(prepared[1], artifact("tiny", "prepare"))
        settings = tiny.changed({**FAST, **MATRIX})
        frames = evaluate.run(settings, prepared[0], matrix_runs(settings, prepared[0], inputs))
        return SimpleNamespace(frames=frames, results=results("tiny", "evaluate"), ranks=artifact("tiny", "evaluate"))


def split_of(data):
    return evaluate.read_test_split(data, torch.device("cpu"))


def overall(frame, metric, protocol):
    return frame.filter(group="overall", metric=metric, protocol=protocol)["value"].to_list()


# --- the published files ---


@pytest.mark.slow
def test_published_frames_have_every_run_protocol_and_metric(published, prepared):
    metrics, timings = (pl.read_csv(published.results / f"{part}.csv") for part in ("metrics", "timings"))
    assert metrics.columns == ["dataset", "backbone", "method", "seed", "protocol", "group", "metric", "value"]
    assert metrics.height == published.frames.metrics.height
    assert timings.columns == ["dataset", "backbone", "method", "seed", "what", "value", "unit"]
    run = ["backbone", "method", "seed"]
    assert metrics.select(run).n_unique() == timings.select(run).n_unique() == 8 + 2  # and the references
    assert metrics.select(run).unique(maintain_order=True).rows()[:4] == [
        ("untrained", "popularity", 0),
        ("untrained", "item_knn", 0),
        ("sasrec", "base", 1),
        ("sasrec", "base", 2),
    ]
    assert set(metrics["protocol"]) == set(PROTOCOLS)
    assert {f"{m}@{k}" for m in ("HR", "NDCG") for k in (5, 10, 20)} | {"users"} == set(metrics["metric"])
    assert metrics.null_count().sum_horizontal()[0] == 0
    assert metrics["value"].is_finite().all()
    counts = pl.read_parquet(published.ranks / "ranks.parquet").group_by([*run, "protocol"]).len()
    assert counts["len"].unique().to_list() == [prepared[0].n_users]
    assert counts.height == 10 * 2


@pytest.mark.slow
def test_comparisons_are_published_for_every_backbone_and_group(published):
    tests = pl.read_csv(published.results / "significance.csv")
    assert set(tests["backbone"]) == {"sasrec", "bert4rec"}  # a reference has nothing to be compared with
    assert set(tests.select("method", "against").rows()) == {
        ("llmesr", "base"),
        ("base", "popularity"),
        ("llmesr", "popularity"),
    }
    assert set(tests["group"]) == {"overall", "tail_item", "head_item", "tail_user", "head_user"}


@pytest.mark.slow
def test_a_published_difference_is_that_of_the_published_metrics(published):
    row = {"backbone": "bert4rec", "protocol": "sampled", "metric": "HR@10", "group": "tail_user"}
    means = published.frames.metrics.filter(**row).group_by("method").agg(pl.col("value").mean())
    mean = dict(means.rows())
    difference = published.frames.significance.filter(**row, against="base")["difference"].to_list()
    assert difference == [pytest.approx(mean["llmesr"] - mean["base"])]


@pytest.mark.slow
def test_the_summary_has_the_means_over_seeds(published):
    summary = json.loads((published.results / "summary.json").read_text())
    assert set(summary) >= {"sasrec-base", "bert4rec-llmesr", "untrained-popularity"}
    row = {"backbone": "sasrec", "method": "llmesr", "metric": "NDCG@10", "group": "tail_item", "protocol": "full"}
    values = published.frames.metrics.filter(**row)["value"]
    assert len(values) == 2
    assert summary["sasrec-llmesr"]["full tail_item"] == pytest.approx(values.mean(), abs=5e-5)


@pytest.mark.slow
def test_groups_recombine_in_the_file(published):
    metrics = pl.read_csv(published.results / "metrics.csv").filter(seed=1, method="llmesr", backbone="sasrec")
    for protocol in PROTOCOLS:
        one = metrics.filter(protocol=protocol)
        value = {(group, metric): number for group, metric, number in one.select("group", "metric", "value").rows()}
        for family in ("_item", "_user", "popularity_", "length_"):
            groups = [group for group, metric in value if metric == "users" and family in group]
            assert sum(value[group, "users"] for group in groups) == value["overall", "users"] == 90
            mean = sum(value[group, "users"] * value[group, "NDCG@10"] for group in groups) / 90
            assert mean == pytest.approx(value["overall", "NDCG@10"], abs=1e-5)


@pytest.mark.slow
def test_the_same_runs_give_the_same_bytes(evaluated):
    def written():
        evaluated(matrix={**SMALL, "matrix.methods": ["base", "llmesr"]})
        folder = results("tiny", "evaluate")
        files = [folder / name for name in ("metrics.csv", "significance.csv", "summary.json")]
        return [file.read_bytes() for file in (*files, artifact("tiny", "evaluate") / "ranks.parquet")]

    assert written() == written()


@pytest.mark.slow
def test_only_runs_that_the_store_lacks_are_trained(evaluated, monkeypatch):
    trained, real = [], pool.train
    monkeypatch.setattr(pool, "train", lambda run: (trained.append(run.name), real(run))[1])
    before = evaluated().metrics
    assert trained == ["sasrec-base-1"]
    after = evaluated(matrix={**SMALL, "matrix.seeds": [1, 2]}).metrics
    assert trained == ["sasrec-base-1", "sasrec-base-2"]
    assert after.filter(pl.col("seed") < 2).equals(before)


def test_the_costs_of_a_run_are_those_of_its_training(evaluated, run_of):
    found = evaluated()
    account = run_of("sasrec", "base", FAST, seed=1).load().account
    costs = dict(found.timings.filter(method="base").select("what", "value").rows())
    assert costs.pop("evaluate_seconds") > 0
    assert costs == {what: account[what] for what in costs}
    assert set(costs) == set(evaluate.UNITS) - {"evaluate_seconds"}
    assert found.timings.filter(method="popularity")["what"].to_list() == ["evaluate_seconds"]


# --- ranks ---


@torch.no_grad()
def test_metrics_equal_a_plain_computation(evaluated, data, run_of):
    """The whole way again, a user at a time and with a full sort, for one run."""
    matrix = {**SMALL, "matrix.methods": ["llmesr"], "matrix.seeds": [2]}
    metrics = evaluated(matrix=matrix).metrics.filter(method="llmesr")
    method = run_of("sasrec", "llmesr", FAST, seed=2).load().method
    vectors, split, scores = method.item_vectors(torch.arange(data.n_items + 1)), split_of(data), []
    for user in range(data.n_users):
        history = split.inputs.take(torch.tensor([user]), 20)
        scores.append(vectors @ method.states(history, vectors[history.items])[-1])
    for protocol in PROTOCOLS:
        values = []
        for user, (item, negatives) in enumerate(zip(split.targets.items, split.targets.negatives, strict=True)):
            known = {*data.train[user].tolist(), data.validation.items[user]}
            others = set(range(1, data.n_items + 1)) - known - {item} if protocol == "full" else set(negatives)
            order = sorted([item, *others], key=lambda candidate: -scores[user][candidate])
            values.append(ndcg(np.array([order.index(item) + 1.0]), 10)[0])
        assert overall(metrics, "NDCG@10", protocol) == [pytest.approx(np.mean(values), abs=1e-9)]


def test_settings_of_one_protocol_leave_the_other_alone(evaluated):
    def values(**changes):
        metrics = evaluated({f"evaluate.{key}": value for key, value in changes.items()}).metrics
        return [overall(metrics, "NDCG@20", protocol) for protocol in PROTOCOLS]

    sampled, full = values()
    redrawn, unchanged = values(redraw_negatives=True)
    assert redrawn != sampled
    assert redrawn[:2] == sampled[:2]  # a reference has no negatives of its own
    assert unchanged == full
    same, harder = values(exclude_seen=False)
    assert same == sampled
    assert all(a <= b for a, b in zip(harder, full, strict=True))
    assert harder != full


def test_redrawn_negatives_are_a_runs_own_and_never_an_item_that_the_user_had(tiny, data):
    split = split_of(data)
    drawn = [evaluate._redrawn(split, data, tiny, seed) for seed in (1, 1, 2)]
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).any()
    for user, item, negatives in zip(split.targets.users, split.targets.items, drawn[0], strict=True):
        assert not {*split.inputs[user].tolist(), item} & set(negatives)


# --- the test split and its groups ---


def test_input_at_test_time_is_training_and_validation(data):
    split = split_of(data)
    for user in (0, 17, 89):
        assert split.inputs[user].tolist() == [*data.train[user].tolist(), data.validation.items[user]]


def test_every_case_has_one_label_in_each_family(data):
    split = split_of(data)
    grouped = families(split.targets, data)
    assert set(grouped) == {"item", "user", "popularity", "length"}
    counts = data.items["count"].to_numpy()[split.targets.items - 1]
    assert ((grouped["item"] == "tail_item") == (counts < data.card["tail_item_below"])).all()
    lengths = split.inputs.lengths.numpy()[split.targets.users]
    assert ((grouped["user"] == "tail_user") == (lengths < data.card["tail_user_below"])).all()


def test_a_temporal_split_runs_to_its_metrics(tiny, root, inputs):
    """Not every user is asked, and histories go beyond training and the validation item."""
    settings = tiny.changed({**FAST, **SMALL, "prepare.split": "temporal", "evaluate.references": ["popularity"]})
    data = prepare.run(settings)
    metrics = evaluate.run(settings, data, matrix_runs(settings, data, inputs)).metrics
    asked = metrics.filter(metric="users", group="overall", protocol="full", method="base")["value"][0]
    assert 0 < asked < data.n_users
    assert (split_of(data).inputs.lengths > data.train.lengths + 1).any()


def test_a_missing_test_split_is_named(data):
    (artifact("tiny", "prepare") / "test.parquet").unlink()
    with pytest.raises(InputError, match=r"tiny/prepare/test.parquet is missing: run `dvc repro prepare` first"):
        split_of(data)


def test_a_damaged_test_split_is_named(data):
    (artifact("tiny", "prepare") / "test.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"test.parquet is damaged: delete it and run `dvc repro prepare`"):
        split_of(data)


# --- users unlike the tiny ones: long histories, nearly all items, no test item ---


def plain_ranks(scores, split, exclude_seen):
    """Ranks under both protocols, a case at a time; ties count half."""
    found = {protocol: [] for protocol in PROTOCOLS}
    for row, (user, item) in enumerate(zip(split.targets.users, split.targets.items, strict=True)):
        seen = set(split.inputs[user].tolist()) if exclude_seen else set()
        full = set(range(1, scores.shape[1])) - seen - {int(item)}
        for protocol, others in (("sampled", set(split.targets.negatives[row].tolist()) - {0}), ("full", full)):
            rest = scores[row, sorted(others)]
            found[protocol].append(1 + (rest > scores[row, item]).sum() + (rest == scores[row, item]).sum() / 2)
    return {protocol: torch.stack(ranks).tolist() for protocol, ranks in found.items()}


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("name", ["popularity", "item_knn", "base", "dualmatch"])
def test_ranks_of_long_and_nearly_complete_histories_equal_a_plain_loop(uneven, inputs, name, exclude_seen):
    settings, data = uneven
    settings, split = settings.changed({"evaluate.exclude_seen": exclude_seen}), split_of(data)
    assert (split.targets.negatives == 0).any()
    assert split.inputs.lengths.max() > 2 * T
    if name in REFERENCES:
        scores, ranked = REFERENCES[name](data.train, V), rank_reference(name, split, data, settings)
    else:
        method = Run(settings, "sasrec", name, 0, data, inputs).build().eval()
        if name == "dualmatch":
            method.on_fit_end(context_of(method, data.train))
            method.matcher.weights.fill_(0.5)
        account = {"backbone": "sasrec", "method": name, "seed": 0}
        scores, ranked = Scorer.of(method, V, T), rank_run(TrainedRun(method, account, []), split, data, settings)
    histories = split.inputs.take(torch.tensor(split.targets.users, dtype=torch.int64))
    expected = plain_ranks(scores(histories), split, exclude_seen)
    for protocol in PROTOCOLS:
        assert ranked.ranks[protocol].tolist() == expected[protocol], protocol


def test_redrawn_negatives_are_those_of_the_user_who_is_asked(uneven):
    settings, data = uneven
    split = split_of(data)
    drawn = [evaluate._redrawn(split, data, settings, seed) for seed in range(3)]
    for negatives in drawn:
        for user, item, row in zip(split.targets.users, split.targets.items, negatives, strict=True):
            had, real = {*split.inputs[user].tolist(), item}, row[row > 0]
            assert not had & set(real)
            assert len(set(real)) == len(real) == min(settings.prepare.negatives, V - len(had))
    assert set(np.unique(drawn)) == set(range(V + 1))  # 0 where there are too few


@pytest.mark.parametrize("kind", ["leave_one_out", "temporal"])
def test_labels_are_those_of_the_users_and_items_that_are_asked(uneven, kind):
    settings, data = uneven
    if kind == "temporal":
        data = prepare.run(settings.changed({"prepare.split": kind}))
    split = split_of(data)
    asked = split.targets
    assert 5 < len(asked.users) < data.n_users
    assert asked.users.tolist() != list(range(len(asked.users)))
    ranked = rank_reference("popularity", split, data, settings)
    ranks = evaluate.frames([ranked], split, data, settings).ranks.filter(protocol="full")
    assert ranks["user"].to_list() == asked.users.tolist()
    counts, lengths = torch.bincount(data.train.items, minlength=V + 1), split.inputs.lengths
    tail = {"user": data.card["tail_user_below"], "item": data.card["tail_item_below"]}
    edges = {"length": settings.prepare.length_edges, "popularity": settings.prepare.popularity_edges}
    grouped = families(asked, data)
    for row, (user, item) in enumerate(zip(asked.users, asked.items, strict=True)):
        for what, n in (("user", lengths[user]), ("item", counts[item])):
            label = f"tail_{what}" if n < tail[what] else f"head_{what}"
            assert grouped[what][row] == ranks[f"{what}_group"][row] == label
        for what, n in (("length", lengths[user]), ("popularity", counts[item])):
            assert grouped[what][row] == edge_names(edges[what], what)[sum(n >= edge for edge in edges[what])]
    assert {name for labels in (grouped["user"], grouped["item"]) for name in labels} == set(GROUPS) - {"overall"}


def test_ranks_of_ties_stay_halves_in_the_file(tiny, data):
    split = split_of(data)
    ranked = [evaluate.Ranked("untrained", "popularity", 0, {"full": np.full(len(split.targets.users), 2.5)}, {})]
    assert evaluate.frames(ranked, split, data, tiny).ranks["rank"].unique().to_list() == [2.5]
