"""Stages are executed by papermill: bad input is one sentence, and what is given is a parameter."""

from pathlib import Path

import nbformat
import pytest
from llmesr.tools import papermill


@pytest.fixture
def notebook(tmp_path):
    """Write a notebook with a parameter `word` and one more cell."""

    def write(source):
        first = nbformat.v4.new_code_cell("word = ''", metadata={"tags": ["parameters"]})
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        file = tmp_path / "in.ipynb"
        cells = [first, nbformat.v4.new_code_cell(source)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), file)
        return str(file)

    return write


def test_a_parameter_that_the_notebook_does_not_have_is_an_error(notebook, tmp_path):
    with pytest.raises(SystemExit, match=r"in.ipynb has no parameter 'wrod' \(it has word\)"):
        papermill.main([notebook("1"), str(tmp_path / "out.ipynb"), "-r", "wrod", "no"])
    assert not (tmp_path / "out.ipynb").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_a_full_disk_is_one_sentence(notebook, tmp_path):
    out = tmp_path / "out.ipynb"
    out.symlink_to("/dev/full")
    with pytest.raises(SystemExit, match=r"in.ipynb: \S+out.ipynb cannot be written \(.*No space left"):
        papermill.main([notebook("1"), str(out)])


@pytest.mark.slow
def test_words_stay_words_and_the_folder_is_made(notebook, tmp_path, capfd):
    out = tmp_path / "new" / "folder" / "out.ipynb"
    papermill.main([notebook("import sys; print(repr(word), file=sys.stderr)"), str(out), "-r", "word", "no"])
    assert "'no'" in capfd.readouterr().out
    assert out.exists()


@pytest.mark.slow
def test_bad_input_is_one_sentence_and_a_fault_of_ours_shows_where(notebook, tmp_path):
    source = notebook("from llmesr.settings import load\nload('/nowhere/params.yaml')")
    with pytest.raises(SystemExit) as found:
        papermill.main([source, str(tmp_path / "out.ipynb")])
    assert found.value.code == "\nin.ipynb: /nowhere/params.yaml does not exist: name a settings file"
    with pytest.raises(SystemExit) as found:
        papermill.main([notebook("1 / 0"), str(tmp_path / "out.ipynb")])
    assert "in.ipynb, cell 2" in found.value.code
    assert "ZeroDivisionError" in found.value.code
    assert "\x1b" not in found.value.code
