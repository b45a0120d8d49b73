"""`python -m llmesr` lists every command, and runs it."""

from importlib.util import find_spec

import pytest
from helpers import ROOT
from llmesr import __main__ as commands


def test_every_command_is_a_module_and_every_tool_is_a_command():
    modules = {module for module, _ in commands.COMMANDS.values()}
    assert all(find_spec(module) for module in modules)
    tools = {f"llmesr.tools.{file.stem}" for file in (ROOT / "lib" / "llmesr" / "tools").glob("[a-z]*.py")}
    assert tools - modules == {
        f"llmesr.tools.{name}" for name in ("demo", "provenance", "raw")
    }  # make, and the pipeline


def test_all_are_listed(capsys):
    commands.main([])
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in commands.COMMANDS)
    assert "make repro" in said


def test_one_is_run_with_its_arguments(capsys, tmp_path):
    with pytest.raises(SystemExit) as end:
        commands.main(["check", str(tmp_path / "nowhere")])
    assert end.value.code == 1
    assert "is no folder" in capsys.readouterr().err


def test_an_unknown_one_is_named():
    with pytest.raises(SystemExit, match=r"^'chek' is no command: check, runs"):
        commands.main(["chek"])
