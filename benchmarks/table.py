"""What was measured, tidy and to read: `benchmarks.csv` and `table.md` in `results/<dataset>/benchmarks/`."""

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median

from llmesr.paths import replacing

from benchmarks.timing import Comparison, Sample

UNITS = {
    "epoch_seconds": "s",
    "evaluation_seconds": "s",
    "seconds": "s",
    "texts_per_second": "1/s",
    "tokens_per_second": "1/s",
    "floor_seconds": "s",
    "adam_floor_seconds": "s",
    "gflop": "GFLOP",
    "peak_gflops": "GFLOP/s",
    "share_of_floor": "share",
    "ndcg10": "NDCG@10",
    "max_cosine_distance": "distance",
    "same_neighbours": "share",
    "peak_rss_mb": "MB",
    "milliseconds": "ms",
    "milliseconds_p95": "ms",
    "users_per_second": "users/s",
}
"""What is measured, in the order of the table's columns."""
HEADINGS = {
    "epoch_seconds": "Epoch, s",
    "evaluation_seconds": "Full ranking, s",
    "seconds": "Seconds",
    "texts_per_second": "Texts / s",
    "tokens_per_second": "Tokens / s",
    "floor_seconds": "Products at peak, s",
    "adam_floor_seconds": "Adam's traffic, s",
    "gflop": "GFLOP",
    "peak_gflops": "Peak, GFLOP/s",
    "share_of_floor": "Share of the floor",
    "ndcg10": "NDCG@10",
    "max_cosine_distance": "Greatest cosine distance",
    "same_neighbours": "Same neighbours",
    "peak_rss_mb": "Peak MB",
    "milliseconds": "ms a user",
    "milliseconds_p95": "ms, 95 %",
    "users_per_second": "Users / s",
}
COSTS = (
    "epoch_seconds",
    "evaluation_seconds",
    "seconds",
    "texts_per_second",
    "tokens_per_second",
    "users_per_second",
    "peak_rss_mb",
)
"""What is related to ours."""
FINE = ("ndcg10", "same_neighbours")
"""What is written with a digit more."""
LEFT_OUT = {("floor", "peak_rss_mb")}
"""What is measured and means nothing: the memory of the copies that the floor is measured by."""


@dataclass(frozen=True)
class Row:
    """One measure of one system.

    Attributes:
        value: the median over repeats, from `low` to `high`.
        times_ours: the median over pairs of this system's value by ours; `times_low`, `times_high` likewise.
    """

    dataset: str
    comparison: str
    subject: str
    system: str
    what: str
    value: float | None
    unit: str
    low: float | None
    high: float | None
    times_ours: float | None
    times_low: float | None
    times_high: float | None
    repeats: int
    note: str


def rows(dataset: str, comparison: Comparison, found: dict[str, list[Sample]]) -> list[Row]:
    """Condense the samples of a comparison; a system that was not run has one row, without values."""
    ours = found[comparison.sides[0].system]
    listed = []
    for number, (system, samples) in enumerate(found.items()):
        about = (dataset, comparison.name, comparison.subject, system)
        if not samples[0].values:
            listed.append(Row(*about, "", None, "", None, None, None, None, None, len(samples), samples[0].note))
        for what in (what for what in samples[0].values if (comparison.name, what) not in LEFT_OUT):
            values = [sample.values[what] for sample in samples]
            related = number > 0 and what in COSTS
            times = [value / own.values[what] for value, own in zip(values, ours, strict=True)] if related else []
            spread = (median(times), min(times), max(times)) if times else (None, None, None)
            middle = (median(values), UNITS[what], min(values), max(values))
            listed.append(Row(*about, what, *middle, *spread, len(samples), samples[0].note))
    return listed


def write(new: list[Row], folder: Path, about: dict[str, str], machine: str) -> None:
    """Write both files; what other calls measured for other comparisons stays.

    Args:
        new: all rows of the comparisons that were measured now.
        folder: of the dataset's results.
        about: a paragraph a comparison.
        machine: what it was measured on.
    """
    measured = {row.comparison for row in new}
    kept = [row for row in read(folder / "benchmarks.csv") if row.comparison not in measured]
    order = list(about)
    every = sorted([*kept, *new], key=lambda row: order.index(row.comparison))
    with replacing(folder / "benchmarks.csv") as file, file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _short(value) for name, value in asdict(row).items()} for row in every)
    with replacing(folder / "table.md") as file:
        file.write_text(page(every, about, machine), encoding="utf-8")


def read(file: Path) -> list[Row]:
    """Read what was written before; nothing if there is none."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as stream:
        return [_parsed(row) for row in csv.DictReader(stream)]


def _parsed(row: dict[str, str]) -> Row:
    texts = {"dataset", "comparison", "subject", "system", "what", "unit", "note"}
    numbers = {name: float(value) if value else None for name, value in row.items() if name not in texts}
    return Row(**{name: row[name] for name in texts}, **{**numbers, "repeats": int(row["repeats"])})


def _short(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


def page(every: list[Row], about: dict[str, str], machine: str) -> str:
    """Lay out a table a comparison."""
    parts = [f"# Benchmarks\n\n{machine}\n"]
    for name, text in about.items():
        own = [row for row in every if row.comparison == name]
        if own:
            parts.append(f"## {name}\n\n{text}\n\n{_table(own)}\n")
    return "\n".join(parts)


def _table(own: list[Row]) -> str:
    whats = [what for what in UNITS if any(row.what == what for row in own)]
    lines = [
        f"| What | System | {' | '.join(HEADINGS[what] for what in whats)} | Note |",
        f"| --- | --- | {' | '.join(['---:'] * len(whats))} | --- |",
    ]
    for subject, system in dict.fromkeys((row.subject, row.system) for row in own):
        cells = {row.what: row for row in own if (row.subject, row.system) == (subject, system)}
        note = next(iter(cells.values())).note
        lines.append(f"| {subject} | {system} | {' | '.join(_cell(cells.get(what)) for what in whats)} | {note} |")
    return "\n".join(lines)


def _cell(row: Row | None) -> str:
    """Write median (least–most), and how many times ours that is."""
    if row is None:
        return "–"
    digits = 4 if row.what in FINE else 3
    text = _number(row.value, digits)
    if row.repeats > 1:
        text += f" ({_number(row.low, digits)}–{_number(row.high, digits)})"
    if row.times_ours is not None:
        spread = f" ({_number(row.times_low)}–{_number(row.times_high)})" if row.repeats > 1 else ""
        text += f"; **{_number(row.times_ours)} ×**{spread}"
    return text


def _number(value: float, digits: int = 3) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{digits}g}"
