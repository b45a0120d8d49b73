"""The tuning record: the same trials for every row, judged on validation."""

import pytest
from llmesr import experiments
from llmesr.errors import InputError
from llmesr.settings import apply, load

from benchmarks.tuning import DEFAULT, table, trials, with_choice


def test_every_row_has_eight_trials_as_it_is_first_and_every_change_is_one():
    by_row = {}
    for trial in trials():
        by_row.setdefault(trial.row, []).append(trial)
    assert {len(each) for each in by_row.values()} == {8}
    settings = load("params.yaml")
    published = {variant.method for variant in experiments.load(settings)["stronger"].variants.values()}
    assert published | set(settings.matrix.methods) <= {trial.method for trial in trials()}
    for name, each in by_row.items():
        assert each[0].tried == DEFAULT
        made = [apply(settings, trial.changes, name) for trial in each]
        assert all(one != other for i, one in enumerate(made) for other in made[:i]), name


def test_validation_chooses_the_best_sampled_trial_of_each_row_and_the_first_of_equal_ones():
    values = {("base", "a"): 0.1, ("base", "b"): 0.3, ("base", "c"): 0.3, ("linear", "d"): 0.2}
    found = with_choice([{"row": row, "tried": tried, "sampled": value} for (row, tried), value in values.items()])
    assert found.filter("chosen")["tried"].to_list() == ["b", "d"]


def test_the_table_names_methods_by_their_titles_and_marks_the_choice():
    about = {"full": 0.05, "epochs": 3, "seconds": 12.4}
    rows = [{"row": row, "tried": DEFAULT, "sampled": 0.3, **about} for row in ("base", "base, cross-entropy")]
    lines = table(with_choice(rows)).splitlines()
    assert lines[2] == "| Base | as it is | **0.3000** | 0.0500 | 3 | 12 |"
    assert lines[3].startswith("| base, cross-entropy |")


def test_an_unknown_row_is_named():
    with pytest.raises(InputError, match="'sasrec' is not among the rows: base, cities"):
        trials(["sasrec"])
