"""What a lesson shows of a study: tables and figures of a method with one thing changed, beside the method as it is."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import polars as pl
import seaborn as sns
from matplotlib.figure import Figure

from llmesr import experiments, tiny
from llmesr.evaluate.significance import compare
from llmesr.experiments import FULL, Study
from llmesr.paths import replacing, results
from llmesr.prepare import dataset
from llmesr.prepare.dataset import Dataset
from llmesr.report import BACKBONE_NAMES, METHOD_NAMES, PROTOCOLS, dataset_name, differences
from llmesr.report.differences import GROUPS
from llmesr.report.plotting import ACCENT, MARK, PALETTE, alone, save
from llmesr.report.tables import FLAG, SECOND_FLAG, over_seeds
from llmesr.settings import Settings

COLUMNS = {"overall": "Overall", "tail_item": "Tail item", "head_item": "Head item", "tail_user": "Tail user"}


# --- a study that was run ---


@dataclass(frozen=True)
class Report:
    """A study that was run, and what a lesson shows of it. Tables and figures go to `results/<dataset>/<study>/`.

    Attributes:
        study: its variants.
        data: the dataset.
        metrics: of the variants and of `full`, with the columns of `metrics.csv`.
        tests: comparisons of the variants, as `compare` gives them.
    """

    study: Study
    data: Dataset
    metrics: pl.DataFrame
    tests: pl.DataFrame

    @property
    def metric(self) -> str:
        """What is shown, e.g. `NDCG@10`."""
        return self.study.settings.report.metric

    @property
    def folder(self) -> Path:
        """Where tables and figures go."""
        return results(self.data.name, self.study.name)

    @property
    def about(self) -> str:
        """Name dataset, backbone and seeds, as every table and figure must."""
        backbone, seeds = BACKBONE_NAMES[self.metrics["backbone"][0]], self.metrics["seed"].n_unique()
        return f"{dataset_name(self.data.name)}, {backbone}, {seeds} seed{'s' * (seeds > 1)}"

    def labels(self, *names: str) -> dict[str, str]:
        """Say what tables call the variants that there are, or those named, in the order of the study."""
        return {name: text for name, text in self.study.labels().items() if not names or name in names}

    def forest(self, file: str, labels: dict[str, str] | None = None, against: str = FULL) -> Figure:
        """Draw how far variants are from one of them, and save it as `<file>.png`."""
        rows = differences.against(self.tests, labels or self.labels(), against, self.metric)
        what = f"{self.metric} minus {self.labels()[against]}"
        figure = differences.forest(rows, f"{self.study.question}\n{self.about}", what)
        save(figure, self.folder / f"{file}.png")
        return figure

    def curves(self, file: str, **keys: str) -> Figure:
        """Draw the metric against settings (what the axis says → dotted key), and save it as `<file>.png`."""
        axes = {axis.replace("_", " "): self.study.values(key) for axis, key in keys.items()}
        figure = curves(self.metrics, axes, self.metric, f"{self.study.question}\n{self.about}")
        save(figure, self.folder / f"{file}.png")
        return figure

    def encoders(self, file: str) -> Figure:
        """Draw the metric by language model, a line a method, and save it as `<file>.png`.

        Variants that change anything but the language model are left out.
        """
        base = self.study.settings.embed
        shown = {
            name: (METHOD_NAMES[variant.method], variant.settings.embed.encoder)
            for name, variant in self.study.available.items()
            if variant.settings.embed.model_copy(update={"encoder": base.encoder}) == base
        }
        figure = encoders(self.metrics, shown, self.metric, f"What is a language model worth?\n{self.about}")
        save(figure, self.folder / f"{file}.png")
        return figure

    def tables(self, labels: dict[str, str] | None = None, against: str = FULL, second: str | None = None) -> str:
        """Lay out the metric under both protocols, with what the dataset cannot have, and save it as `table.md`."""
        return self.write("table", *self.rankings(labels or self.labels(), against, second), self.study.unavailable)

    def rankings(self, labels: dict[str, str], against: str, second: str | None = None) -> list[str]:
        """Lay out the metric, a table a protocol."""
        return [
            f"**{self.metric}, {title}: {self.about}**\n\n"
            + table(self.metrics, labels, self.tests, protocol, self.metric, against, second)
            for protocol, title in PROTOCOLS.items()
        ]

    def differences(self, *against: str, labels: dict[str, str] | None = None) -> str:
        """Lay out differences from one or several variants, a table each, and save them as `differences.md`."""
        rows = labels or self.labels()
        parts = []
        for one in against or (FULL,):
            if one in rows:
                found = differences.against(self.tests, rows, one, self.metric)
                head = f"**{self.metric}, minus {rows[one]}: {self.about}**"
                parts.append(f"{head}\n\n{differences.table(found, f'Minus {rows[one]}')}")
        return self.write("differences", *parts)

    def write(self, file: str, *parts: str) -> str:
        """Save what is not empty of a page's parts as `<file>.md`, and return it."""
        text = "\n\n".join(part for part in parts if part)
        with replacing(self.folder / f"{file}.md") as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
        return text


def run(name: str, settings: Settings, against: tuple[str, ...] = (FULL,)) -> Report:
    """Train and evaluate every variant of a study of `experiments.yaml`, and compare them.

    Args:
        name: of the study.
        settings: of the dataset; of the tiny one, earlier stages are run if they are missing.
        against: the variants that all others are compared with.
    """
    tiny.run(settings, until="retrieve")
    data = dataset.load(settings.dataset)
    return report(experiments.load(settings, data)[name], data, against)


def report(study: Study, data: Dataset, against: tuple[str, ...] = (FULL,), **options: object) -> Report:
    """Do the same with a study that was loaded, for which `experiments.run` takes options."""
    found = experiments.run(study, data, **options)
    return Report(study, data, found.metrics, compare(found.ranks, against=against))


# --- tables ---


def table(
    metrics: pl.DataFrame,
    labels: dict[str, str],
    tests: pl.DataFrame,
    protocol: str,
    metric: str,
    reference: str = FULL,
    second: str | None = None,
) -> str:
    """Lay out one metric by group, a row a variant: mean ± standard deviation over seeds.

    Args:
        metrics: of the variants and of `full`.
        labels: what each variant is called, in the order of the rows.
        tests: comparisons with the reference, and the second one; a dagger, a double one, marks a significant
            difference.
        protocol: `sampled` or `full`.
        metric: e.g. `NDCG@10`.
        reference: the variant, or `full`, that the others are compared with.
        second: another variant that they are compared with as well; with the reference it is compared in its own row.

    Returns:
        a Markdown table; the last column is the change of the overall mean against the reference.
    """
    means = {
        (method, group): (mean, f" ± {std:.4f}" if seeds > 1 else "")
        for _, method, group, mean, std, seeds in over_seeds(metrics, protocol, metric).iter_rows()
    }
    sure = tests.filter("significant", protocol=protocol, metric=metric)
    flagged = set(sure.select("method", "group", "against").iter_rows())
    lines = [f"| Variant | {' | '.join(COLUMNS.values())} | Change |", f"| --- |{' ---: |' * (len(COLUMNS) + 1)}"]
    for method, name in labels.items():
        cells = []
        for group in COLUMNS:
            mean, spread = means.get((method, group), (None, ""))
            flags = FLAG * ((method, group, reference) in flagged) + SECOND_FLAG * ((method, group, second) in flagged)
            cells.append("–" if mean is None else f"{mean:.4f}{spread}{flags}")
        change = means[method, "overall"][0] / means[reference, "overall"][0] - 1
        lines.append(f"| {name} | {' | '.join(cells)} | {'' if method == reference else f'{change:+.1%}'} |")
    return "\n".join(lines)


def speeds(texts_per_second: dict[str, float]) -> str:
    """Lay out what each variant's encoder costs: item prompts a second, the more the cheaper."""
    rows = [f"| {label} | {speed:,.0f} |" for label, speed in texts_per_second.items()]
    return "\n".join(["| Language model | Texts a second |", "| --- | ---: |", *rows])


# --- figures ---


def encoders(metrics: pl.DataFrame, variants: dict[str, tuple[str, str]], metric: str, title: str) -> Figure:
    """Draw the metric by language model: a line a method, a panel a protocol and group.

    Args:
        metrics: of the variants.
        variants: name → its method and its language model.
        metric: e.g. `NDCG@10`.
        title: what the figure shows, of which data.
    """
    known = metrics.filter(pl.col("method").is_in(list(variants)), metric=metric).with_columns(
        pl.col("method").replace({name: method for name, (method, _) in variants.items()}).alias("Method"),
        pl.col("method").replace({name: encoder for name, (_, encoder) in variants.items()}).alias("encoder"),
    )
    order = list(dict.fromkeys(encoder for _, encoder in variants.values()))
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, panels = plt.subplots(2, 2, figsize=(10, 6.5), sharex=True, layout="constrained")
        for axes, (protocol, ranking) in zip(panels, PROTOCOLS.items(), strict=True):
            for axis, (group, of) in zip(axes, GROUPS.items(), strict=True):
                sns.pointplot(
                    known.filter(protocol=protocol, group=group).to_pandas(), x="encoder", y="value", hue="Method",
                    order=order, errorbar="sd", palette=PALETTE, err_kws={"linewidth": 1.4}, ax=axis,
                )  # fmt: skip
                handles, names = axis.get_legend_handles_labels()
                axis.get_legend().remove()
                axis.set(title=f"{of}, {ranking}", xlabel="", ylabel=metric)
        figure.legend(handles, names, loc="outside lower center", ncol=len(names), frameon=False)
        figure.suptitle(f"{title}. Bars: ± one standard deviation over seeds")
    return alone(figure)


def curves(metrics: pl.DataFrame, axes_of: dict[str, dict[str, float]], metric: str, title: str) -> Figure:
    """Draw the metric against a number that the variants change: a row of panels a number and protocol.

    Args:
        metrics: of the variants and of `full`.
        axes_of: the number's name → each variant's value of it.
        metric: e.g. `NDCG@10`.
        title: what the figure shows, of which data.
    """
    kept = metrics.filter(metric=metric)
    rows = [(name, protocol) for name in axes_of for protocol in PROTOCOLS]
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        figure, panels = plt.subplots(len(rows), 2, figsize=(10, 2.9 * len(rows)), squeeze=False, layout="constrained")
        for axes, (name, protocol) in zip(panels, rows, strict=True):
            values = axes_of[name]
            known = kept.filter(pl.col("method").is_in(list(values)), protocol=protocol)
            known = known.with_columns(pl.col("method").replace_strict(values, return_dtype=pl.Float64).alias("x"))
            for axis, (group, of) in zip(axes, GROUPS.items(), strict=True):
                points = known.filter(group=group).to_pandas()
                sns.lineplot(
                    points, x="x", y="value", errorbar="sd", err_style="bars", marker="o", color=ACCENT, ax=axis
                )
                axis.axvline(values[FULL], color=MARK, linestyle="--")
                axis.set(xscale="log", xlabel=name, ylabel=metric, title=f"{of}, {PROTOCOLS[protocol]}")
                axis.set_xticks(sorted(values.values()), [f"{value:g}" for value in sorted(values.values())])
                axis.minorticks_off()
        figure.suptitle(f"{title}. Bars: ± one standard deviation over seeds; dashed: the default")
    return alone(figure)
