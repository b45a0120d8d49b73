"""The book: executed lessons become pages, equations without network, every lesson in its table of contents."""

import re
import shutil

import nbformat
import pytest
import yaml
from conftest import ROOT, changed
from llmesr import book
from llmesr.errors import InputError

LESSONS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def settings(tiny, tmp_path, monkeypatch):
    """A root whose main lessons have been executed, in name."""
    for folder in ("book", "notebooks"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("tiny"))
    runs = tmp_path / "runs" / "tiny"
    (runs / "04_train").mkdir(parents=True)
    for lesson in LESSONS[:9]:
        shutil.copy(ROOT / "notebooks" / f"{lesson}.ipynb", runs)
    shutil.move(runs / "04_train.ipynb", runs / "04_train" / "sasrec-llmesr-7.ipynb")
    monkeypatch.setattr(book, "ROOT", tmp_path)
    return changed(tiny, matrix__backbones=["gru4rec", "sasrec"], matrix__seeds=[7, 8])


def test_every_lesson_is_in_the_table_of_contents():
    listed = re.findall(r"^\d\d_\w+$", (ROOT / "book" / "index.md").read_text(), re.MULTILINE)
    assert listed == LESSONS


def test_the_book_is_built_with_equations_and_without_addresses_to_load_from(settings, tmp_path):
    assert book.build(settings, tmp_path / "site") == 0
    page = (tmp_path / "site" / "html" / "04_train.html").read_text()
    assert "<math" in page
    assert not re.search(r'(?:src|href)="https?://[^"]*\.(?:js|css)', page)
    assert "mathjax" not in page.lower().replace("mathjax_ignore", "")
    assert (tmp_path / "site" / "html" / "search.html").exists()


def test_a_table_that_a_lesson_printed_is_a_table(settings, tmp_path):
    file = tmp_path / "runs" / "tiny" / "06_overall.ipynb"
    notebook = nbformat.read(file, 4)
    shown = nbformat.v4.new_output("display_data", {"text/markdown": "| a | b |\n| --- | --- |\n| seven | 8 |"})
    next(cell for cell in notebook.cells if cell.cell_type == "code").outputs = [shown]
    nbformat.write(notebook, file)
    assert book.build(settings, tmp_path / "site") == 0
    assert "<td><p>seven</p></td>" in (tmp_path / "site" / "html" / "06_overall.html").read_text()


def test_a_study_that_has_not_run_is_told_without_results(settings, tmp_path):
    assert book.gather(settings, tmp_path / "source") == LESSONS[9:]
    assert {path.stem for path in (tmp_path / "source").glob("*.ipynb")} == set(LESSONS)


def command_that_executes(lesson):
    """Find in which pipeline a lesson is executed, and which command of the Makefile runs that stage."""
    file, stage = next(
        (file, stage)
        for file in ("dvc.yaml", "study/dvc.yaml", "beyond/dvc.yaml", "benchmarks/dvc.yaml")
        for stage, about in yaml.safe_load((ROOT / file).read_text())["stages"].items()
        if f"notebooks/{lesson}.ipynb" in str(about)
    )
    if file == "dvc.yaml":
        return "make repro"
    if file == "benchmarks/dvc.yaml":
        return "make bench"
    beyond = re.search(r"addprefix beyond/dvc.yaml:,([\w ]+)", (ROOT / "Makefile").read_text())[1].split()
    return "make beyond" if file == "beyond/dvc.yaml" and stage in beyond else "make study"


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_command_that_is_told_is_the_one_that_executes(lesson):
    assert book.made_by(lesson) == command_that_executes(lesson)


def test_a_benchmark_is_found_where_it_is_executed(settings, tmp_path):
    found = tmp_path / "runs" / settings.scale.name / "16_scale.ipynb"
    found.parent.mkdir(exist_ok=True)
    found.write_text("{}")
    assert book.executed(settings, "16_scale") == found


def test_a_lesson_that_was_not_executed_is_named(settings, tmp_path):
    (tmp_path / "runs" / "tiny" / "06_overall.ipynb").unlink()
    with pytest.raises(InputError, match=r"runs/tiny/ has no executed copy of 06_overall: run `make repro` first"):
        book.gather(settings, tmp_path / "source")
