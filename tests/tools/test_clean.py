"""Notebooks are stripped in one way, whoever asks for it."""

import nbformat
import pytest
from llmesr.tools import clean
from llmesr.tools.clean import on_save


@pytest.fixture
def dirty(tmp_path):
    """A notebook that has been run."""
    cell = nbformat.v4.new_code_cell(
        "1 + 1", id="one", metadata={"tags": ["parameters"], "execution": {"iopub.status.busy": "now"}}
    )
    cell.update(execution_count=3, outputs=[nbformat.v4.new_output("stream", text="2")])
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"language_info": {"name": "python"}})
    file = tmp_path / "lesson.ipynb"
    nbformat.write(notebook, file)
    return file


def is_clean(notebook):
    cell = notebook["cells"][0]
    kept = cell["id"] == "one" and cell["metadata"] == {"tags": ["parameters"]}
    return kept and cell["outputs"] == [] and cell["execution_count"] is None and not notebook["metadata"]


def test_a_file_is_stripped_once(dirty):
    assert clean.clean(dirty, write=False)
    assert not is_clean(nbformat.read(dirty, 4))
    assert clean.clean(dirty)
    assert is_clean(nbformat.read(dirty, 4))
    assert not clean.clean(dirty)


def test_jupyter_saves_the_same(dirty):
    model = {"type": "notebook", "content": nbformat.read(dirty, 4)}
    on_save(model)
    assert is_clean(model["content"])
    clean.clean(dirty)
    assert nbformat.writes(model["content"]) + "\n" == dirty.read_text()
    text = {"type": "file", "content": "1 + 1"}
    on_save(text)
    assert text["content"] == "1 + 1"


def test_what_is_not_clean_is_named(dirty, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["clean", "--check", str(dirty)])
    with pytest.raises(SystemExit) as stopped:
        clean.main()
    assert stopped.value.code == 1
    assert "lesson.ipynb: run `make strip`" in capsys.readouterr().err
