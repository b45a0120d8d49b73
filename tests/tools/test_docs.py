"""The site: executed lessons become pages, and every lesson stands in the table of contents."""

import re
import shutil

import nbformat
import pytest
import yaml
from helpers import ROOT
from llmesr.errors import InputError
from llmesr.tools import docs

LESSONS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
STAGES = [lesson for lesson in LESSONS if lesson not in docs.ALONE]
PIPELINE = [lesson for lesson in STAGES if int(lesson[:2]) <= docs.LAST_OF_PIPELINE]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A root whose main lessons have been executed, in name."""
    for folder in ("docs", "notebooks"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("tiny"))
    for page in ("CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / page, tmp_path / page)
    shutil.copytree(ROOT / "results", tmp_path / "results", ignore=shutil.ignore_patterns("*.csv", "tiny*"))
    runs = tmp_path / "runs" / "tiny"
    (runs / "04_train").mkdir(parents=True)
    for lesson in PIPELINE:
        name = "04_train/llmesr" if lesson == "04_train" else lesson
        shutil.copy(ROOT / "notebooks" / f"{lesson}.ipynb", runs / f"{name}.ipynb")
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    return tmp_path


def test_every_lesson_is_in_the_table_of_contents():
    listed = re.findall(r"^\d\d_\w+$", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE)
    assert listed == LESSONS
    from_zero = re.findall(r"^from_zero/(\w+)$", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE)
    assert from_zero == sorted(path.stem for path in (ROOT / "notebooks" / docs.FROM_ZERO).glob("*.ipynb"))


@pytest.mark.slow
def test_the_site_is_built_with_equations_tables_and_settings(tiny, project, tmp_path, capfd):
    file = project / "runs" / "tiny" / "06_overall.ipynb"
    notebook = nbformat.read(file, 4)
    shown = nbformat.v4.new_output("display_data", {"text/markdown": "| a | b |\n| --- | --- |\n| seven | 8 |"})
    next(cell for cell in notebook.cells if cell.cell_type == "code").outputs = [shown]
    nbformat.write(notebook, file)
    assert docs.build(tiny, tmp_path / "site") == 0
    assert "WARNING" not in capfd.readouterr().err  # every link leads somewhere
    html = tmp_path / "site" / "html"
    assert 'class="math' in (html / "04_train.html").read_text()
    assert "<td><p>seven</p></td>" in (html / "06_overall.html").read_text()
    assert "<p>Weight of the self-distillation" in (html / "settings.html").read_text()
    assert (html / "search.html").exists()
    assert "<math " in (html / "from_zero" / "1_sasrec.html").read_text()
    assert "Give one that knows further items as well" in (html / "api.html").read_text()
    assert 'href="../01_prepare.html"' in (html / "results" / "README.html").read_text()
    for page in html.rglob("*.html"):  # nothing is fetched from elsewhere
        assert not re.findall(r'(?:src|<link[^>]*href)="https?:[^"]*"', page.read_text()), page


def test_a_study_that_has_not_run_is_shown_without_results(tiny, project, tmp_path):
    assert docs.gather(tiny, tmp_path / "source") == STAGES[len(PIPELINE) :]
    assert {path.stem for path in (tmp_path / "source").glob("*.ipynb")} == set(LESSONS)


def test_the_command_that_is_named_is_one_that_executes():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for lesson in STAGES:
        if lesson == "16_scale":
            assert docs.made_by(lesson) == "make bench"
            assert "16_scale" in (ROOT / "Makefile").read_text()
        else:
            assert f"notebooks/{lesson}.ipynb" in str(stages[docs.made_by(lesson).removeprefix("dvc repro ")])


def test_what_make_bench_executes_is_found(tiny, project):
    copy = project / "runs" / tiny.scale.name / "16_scale.ipynb"
    copy.parent.mkdir()
    copy.write_text("{}")
    assert docs.executed(tiny, "16_scale") == copy


def test_a_lesson_that_was_not_executed_is_named(tiny, project, tmp_path):
    (project / "runs" / "tiny" / "06_overall.ipynb").unlink()
    with pytest.raises(InputError, match=r"runs/tiny/ has no executed copy of 06_overall: run `dvc repro overall` f"):
        docs.gather(tiny, tmp_path / "source")


@pytest.mark.parametrize(
    "file", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/**/*.ipynb")])
)
def test_every_link_in_the_repository_leads_to_a_file(file):
    places = re.findall(r"\]\((?!http)([^)\s\"#]+)", file.read_text(encoding="utf-8"))
    assert not [place for place in places if not (file.parent / place).exists()]
