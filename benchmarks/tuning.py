"""`python -m benchmarks.tuning`: the same budget of trials for every row, compared on validation.

`tuning.yaml` says what is tried. Written to `results/<dataset>/tuning/`: `trials.csv`, and `table.md` for the page
`docs/tuning.md`. The test split is not read.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from llmesr import embed, retrieve
from llmesr.errors import InputError
from llmesr.models.registry import METHODS
from llmesr.paths import replacing, results, shown
from llmesr.prepare import dataset
from llmesr.runs.inputs import model_inputs
from llmesr.runs.pool import train_all
from llmesr.runs.store import Run, TrainedRun
from llmesr.settings import apply, load, read_yaml
from llmesr.train.loop import validate

from benchmarks.inputs import ALONE, task_of

FILE = Path(__file__).with_name("tuning.yaml")
DEFAULT = "as it is"


@dataclass(frozen=True)
class Trial:
    """One change of a row."""

    row: str
    method: str
    changes: dict[str, Any]
    tried: str


def trials(chosen: list[str] | None = None, file: Path = FILE) -> list[Trial]:
    """List what is tried of some rows, or of all: as it is first.

    Raises:
        InputError: there is no such row, or it names an unknown method.
    """
    raw = read_yaml(file)
    if unknown := set(chosen or ()) - set(raw["rows"]):
        raise InputError(f"'{min(unknown)}' is not among the rows: {', '.join(raw['rows'])}")
    found = []
    for name in chosen or raw["rows"]:
        about = raw["rows"][name]
        method, given = about.get("method", name), about.get("with", {})
        if method not in METHODS:
            raise InputError(f"{shown(file)}: row '{name}' is of no method: {', '.join(METHODS)}")
        has_epochs = METHODS[method].trains or METHODS[method].starts_from
        for change in [{}, *(raw["all"] if has_epochs else []), *about["own"]]:
            tried = ", ".join(f"{key.split('.')[-1]} {value}" for key, value in change.items())
            found.append(Trial(name, method, {**given, **change}, tried or DEFAULT))
    return found


def measured(trial: Trial, run: Run, trained: TrainedRun) -> dict[str, Any]:
    """Measure a trial on validation, in both rankings."""
    task = task_of(run)
    found = {name: validate(trained.method, task, ALONE, protocol=name)["NDCG@10"] for name in ("sampled", "full")}
    about = {"dataset": run.data.name, "backbone": run.backbone, "row": trial.row, "tried": trial.tried}
    costs = {"epochs": trained.account["epochs"], "seconds": trained.account["train_seconds"]}
    return {**about, "seed": run.seed, **found, **costs}


def with_choice(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Mark the trial of each row that validation chooses: the best sampled NDCG@10, the first one of equal ones."""
    frame = pl.DataFrame(rows)
    best = pl.col("sampled").arg_max().over("row")
    return frame.with_columns(chosen=pl.int_range(pl.len()).over("row") == best)


def table(found: pl.DataFrame) -> str:
    """Lay out the trials, the chosen one of each row in bold."""
    lines = ["| Row | Trial | Sampled | Full | Epochs | Seconds |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    for trial in found.iter_rows(named=True):
        title = METHODS[trial["row"]].title if trial["row"] in METHODS else trial["row"]
        mark = "**" if trial["chosen"] else ""
        numbers = f"{mark}{trial['sampled']:.4f}{mark} | {trial['full']:.4f}"
        lines.append(f"| {title} | {trial['tried']} | {numbers} | {trial['epochs']} | {trial['seconds']:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Train what is missing, and write the record."""
    parser = argparse.ArgumentParser(prog="benchmarks.tuning", description="The same trials for every row.")
    parser.add_argument("--params", default="params.yaml", help="settings file (default: %(default)s)")
    parser.add_argument("--rows", help="by semicolon (default: all)")
    arguments = parser.parse_args()
    try:
        write(arguments.params, arguments.rows.split(";") if arguments.rows else None)
    except InputError as error:
        parser.exit(1, f"{error}\n")


def write(params: str, rows: list[str] | None = None) -> None:
    """Train what is missing of some rows, or of all, and write the record.

    Raises:
        InputError: the settings are at fault, an earlier stage has not been run, or a run failed.
    """
    settings, planned = load(params), trials(rows)
    data = dataset.load(settings.dataset)
    inputs = model_inputs(embed.load(data.name), retrieve.load(data.name))
    backbone, seed = settings.experiments.backbone, settings.matrix.seeds[0]
    runs = [
        Run(apply(settings, trial.changes, shown(FILE)), backbone, trial.method, seed, data, inputs)
        for trial in planned
    ]
    finished = zip(planned, runs, train_all(runs, "tuning"), strict=True)
    found = with_choice([measured(*one) for one in finished])
    folder = results(data.name, "tuning")
    with replacing(folder / "trials.csv") as temporary:
        found.write_csv(temporary, float_precision=6)
    with replacing(folder / "table.md") as temporary:
        temporary.write_text(table(found) + "\n", encoding="utf-8")
    print(f"written: {shown(folder)}/trials.csv and table.md")


if __name__ == "__main__":
    main()
