"""Turn the executed lessons into a static site: `python -m llmesr.book`."""

import shutil
import sys
from pathlib import Path

from sphinx.cmd.build import main as sphinx

from llmesr.errors import InputError
from llmesr.paths import ROOT
from llmesr.settings import Settings, load

MADE_BY = {
    "16_scale": "make bench",
    **dict.fromkeys(("17_recommend", "18_cold", "19_diversity", "21_modalities"), "make beyond"),
}
"""The command that executes a lesson, where it is not `make repro` (lessons 1 to 9) or `make study`."""


def executed(settings: Settings, lesson: str) -> Path:
    """Find the executed copy of a lesson; of those that run many times, one that tells most.

    Raises:
        InputError: it has not been executed.
    """
    name = settings.scale.name if lesson == "16_scale" else settings.data.name
    backbone, seed = settings.matrix.backbones[-1], settings.matrix.seeds[0]
    one_of_many = {"04_train": f"04_train/{backbone}-llmesr-{seed}", "10_variant": "10_variant/no-fusion"}
    file = ROOT / "runs" / name / f"{one_of_many.get(lesson, lesson)}.ipynb"
    if not file.exists():
        raise InputError(f"runs/{name}/ has no executed copy of {lesson}: run `{made_by(lesson)}` first")
    return file


def made_by(lesson: str) -> str:
    """Name the command that executes a lesson."""
    return MADE_BY.get(lesson, "make study" if int(lesson[:2]) >= 10 else "make repro")


def gather(settings: Settings, source: Path) -> list[str]:
    """Copy the executed lessons, and the book's own pages, into one folder.

    Lessons past the main pipeline that have not run are left as they are in `notebooks/`: told, but without results.

    Returns:
        the lessons that have no results.

    Raises:
        InputError: a lesson of the main pipeline has not been executed.
    """
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(ROOT / "book", source)
    without = []
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        try:
            shutil.copy(executed(settings, notebook.stem), source / notebook.name)
        except InputError:
            if int(notebook.stem[:2]) < 10:
                raise
            without.append(notebook.stem)
            shutil.copy(notebook, source / notebook.name)
    return without


def build(settings: Settings, target: Path) -> int:
    """Build the site into `target/html`; return Sphinx's exit code."""
    for lesson in gather(settings, target / "source"):
        print(f"{lesson} is told without results: run `{made_by(lesson)}` for them")
    return sphinx(["-q", "-E", "-b", "html", str(target / "source"), str(target / "html")])


if __name__ == "__main__":
    try:
        code = build(load(), ROOT / "build" / "book")
    except InputError as problem:
        sys.exit(str(problem))
    print("build/book/html/index.html")
    sys.exit(code)
