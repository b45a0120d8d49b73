"""Turn `docs/`, the executed lessons and the list of settings into a static site: `python -m llmesr.tools.docs`."""

import re
import shutil
import sys
from pathlib import Path

import papermill
from sphinx.cmd.build import main as sphinx

from llmesr.errors import InputError
from llmesr.paths import ROOT
from llmesr.report import dataset_name
from llmesr.settings import Settings, load
from llmesr.tools.settings_page import page

FROM_ZERO, SOLUTIONS = "from_zero", "solutions"
"""Folders of lessons that need no data, which are executed for the site, and of the solutions to their exercises."""
ALONE = ("00_in_one_minute", "25_own_data", "26_own_method")
"""Lessons on the tiny shop alone, which no stage runs; they are executed for the site, too."""
LAST_OF_PIPELINE = 9
"""Lessons up to this one must have been executed; those after it may be shown without results."""


def made_by(lesson: str) -> str:
    """Name the command that executes a lesson."""
    return "make bench" if lesson == "16_scale" else f"dvc repro {lesson[3:]}"


def executed(settings: Settings, lesson: str) -> Path:
    """Find the executed copy of a lesson; of lesson 04, which runs once a method, that of LLM-ESR if there is one.

    Raises:
        InputError: it has not been executed.
    """
    dataset, name = settings.scale.name if lesson == "16_scale" else settings.dataset, lesson
    if lesson == "04_train":
        methods = settings.matrix.methods
        name += f"/{'llmesr' if 'llmesr' in methods else methods[-1]}"
    file = ROOT / "runs" / dataset / f"{name}.ipynb"
    if not file.exists():
        raise InputError(f"runs/{dataset}/ has no executed copy of {lesson}: run `{made_by(lesson)}` first")
    return file


def gather(settings: Settings, source: Path) -> list[str]:
    """Put the site's pages, the executed lessons and the list of settings into one folder.

    Lessons past the main pipeline that have not run are taken as they are in `notebooks/`, without results.

    Returns:
        the lessons that have no results.

    Raises:
        InputError: a lesson of the main pipeline has not been executed.
    """
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(ROOT / "docs", source)
    without = []
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        if notebook.stem in ALONE:
            shutil.copy(_executed_or_not(notebook), source)
            continue
        try:
            shutil.copy(executed(settings, notebook.stem), source / notebook.name)
        except InputError:
            if int(notebook.stem[:2]) <= LAST_OF_PIPELINE:
                raise
            without.append(notebook.stem)
            shutil.copy(notebook, source / notebook.name)
    (source / FROM_ZERO).mkdir()
    for notebook in sorted((ROOT / "notebooks" / FROM_ZERO).glob("*.ipynb")):
        shutil.copy(_executed_or_not(notebook), source / FROM_ZERO)
    shutil.copytree(ROOT / "notebooks" / SOLUTIONS, source / SOLUTIONS)
    (source / "settings.md").write_text(page(), encoding="utf-8")
    for page_of_root in ("CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / page_of_root, source / page_of_root.lower())
    _gather_results(source / "results")
    for file in [*source.rglob("*.ipynb"), *source.rglob("*.md")]:
        up = "" if file.parent == source else "../"
        file.write_text(_links(file.read_text(encoding="utf-8"), up), encoding="utf-8")
    return without


def _links(text: str, up: str) -> str:
    """Point links to where their targets lie in the site, in which `docs/` and `notebooks/` are one folder."""
    for folder, place in (("docs/", ""), ("notebooks/", ""), ("results/", "results/")):
        text = re.sub(rf"\]\((\.\./)+{folder}", f"]({up}{place}", text)
    return text


def _gather_results(folder: Path) -> None:
    """Copy the published tables and figures; every table becomes a page, which its index links to."""
    no_pages = shutil.ignore_patterns("*.csv", "*.safetensors", "*.parquet", "tiny*", "sasrec-*")
    shutil.copytree(ROOT / "results", folder, ignore=no_pages)
    for table in folder.glob("*/*/*.md"):
        text = table.read_text(encoding="utf-8")
        title = "" if text.startswith("#") else f"# {dataset_name(table.parts[-3])}: {table.parent.name}\n\n"
        table.write_text(f"---\norphan: true\n---\n\n{title}{text}", encoding="utf-8")


def _executed_or_not(notebook: Path) -> Path:
    """Find what `execute` made of a lesson, or else the lesson itself."""
    own = ROOT / "runs" / FROM_ZERO / notebook.name
    return own if own.exists() else notebook


def execute() -> None:
    """Execute the lessons that no stage runs, which takes seconds each, into `runs/from_zero/`."""
    folder = ROOT / "runs" / FROM_ZERO
    folder.mkdir(parents=True, exist_ok=True)
    lessons = [ROOT / "notebooks" / f"{name}.ipynb" for name in ALONE]
    for notebook in [*lessons, *sorted((ROOT / "notebooks" / FROM_ZERO).glob("*.ipynb"))]:
        papermill.execute_notebook(str(notebook), str(folder / notebook.name), progress_bar=False)


def build(settings: Settings, target: Path) -> int:
    """Build the site into `target/html`; return Sphinx's exit code."""
    for lesson in gather(settings, target / "source"):
        print(f"{lesson} is shown without results: run `{made_by(lesson)}` for them")
    return sphinx(["-q", "-E", "-b", "html", str(target / "source"), str(target / "html")])


if __name__ == "__main__":
    try:
        execute()
        code = build(load(), ROOT / "build" / "docs")
    except InputError as problem:
        sys.exit(str(problem))
    print("build/docs/html/index.html")
    sys.exit(code)
