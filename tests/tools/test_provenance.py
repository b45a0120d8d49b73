"""Provenance: commit, machine, versions, seconds a stage."""

import json
import subprocess

import nbformat
import pytest
from llmesr import paths
from llmesr.errors import InputError
from llmesr.tools import provenance


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project under git, in which two lessons have been executed."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    for name, seconds in (("01_prepare", 1.25), ("04_train/llmesr", 60.0), ("05_evaluate", None)):
        file = tmp_path / "runs" / "shop" / f"{name}.ipynb"
        file.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(nbformat.v4.new_notebook(metadata={"papermill": {"duration": seconds}}), file)
    (tmp_path / ".gitignore").write_text("/runs/\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "first")
    return tmp_path


def git(folder, *arguments):
    subprocess.run(["git", *arguments], cwd=folder, check=True)


def test_what_is_written(project):
    provenance.run("shop")
    written = json.loads((project / "results" / "shop" / "provenance.json").read_text())
    assert written["stage_seconds"] == {"01_prepare": 1.2, "04_train/llmesr": 60.0}
    assert written["total_seconds"] == 61.2
    assert len(written["commit"]) == 40
    assert written["dirty"] is False  # results do not count
    assert {"python", "torch", "transformers", "faiss-cpu", "numpy", "polars", "dvc"} == set(written["versions"])
    assert written["machine"]["cores"] >= 1
    assert written["machine"]["memory_gb"] > 0
    assert written["machine"]["cpu"]


def test_a_changed_file_makes_the_tree_dirty_and_a_lock_does_not(project):
    (project / "dvc.lock").write_text("stages")
    assert provenance.commit(project)["dirty"] is False
    (project / ".gitignore").write_text("/runs/\n/more/\n")
    assert provenance.commit(project)["dirty"] is True


def test_without_git_there_is_no_commit(tmp_path):
    assert provenance.commit(tmp_path) == {"commit": None, "dirty": None}


def test_a_dataset_without_executed_lessons_is_told(project):
    with pytest.raises(InputError, match=r"runs/other/ has no executed lesson: run `dvc repro` first"):
        provenance.run("other")
    (project / "runs" / "shop" / "01_prepare.ipynb").write_text("{")
    with pytest.raises(InputError, match=r"01_prepare.ipynb is damaged"):
        provenance.run("shop")
