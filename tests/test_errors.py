"""An input error is one line, in a notebook too."""

import nbformat
import papermill
import pytest


@pytest.mark.slow
def test_a_notebook_shows_one_line(tmp_path):
    source = "from llmesr.settings import load\nload('/nowhere/params.yaml')"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbformat.write(notebook, tmp_path / "in.ipynb")
    with pytest.raises(papermill.PapermillExecutionError):
        papermill.execute_notebook(
            tmp_path / "in.ipynb", tmp_path / "out.ipynb", kernel_name="python3", progress_bar=False
        )
    (output,) = nbformat.read(tmp_path / "out.ipynb", 4).cells[-1].outputs
    assert output.ename == "InputError"
    assert output.traceback == ["InputError: /nowhere/params.yaml does not exist: name a settings file"]
