"""The house keeps its shape: one name for one thing, data flowing one way, clean notebooks, whole pins."""

import ast
import json
import re
import tomllib

import nbformat
import pytest
import yaml
from conftest import ROOT
from llmesr import clean
from llmesr.fetch import MEMBERS
from packaging.requirements import Requirement

SHARED = (("recipes",), ("encoders",), ("variants",), ("sources",))
"""Settings whose keys are names of one's own choice."""
ROOMS = ("prepare", "embed", "retrieve", "train", "evaluate")
ORDER = (
    "prepare",
    "embed",
    "retrieve",
    "modalities",
    "models",
    "train",
    "evaluate",
    "study",
    "scale",
    "recommend",
    "cold",
    "diversity",
    "report",
)
"""A room imports only from rooms before it."""
COMPUTES = {*ORDER, "metrics"}
"""What a stage's result depends on; the other modules only name, read or draw."""

FILES = ("dvc.yaml", "study/dvc.yaml", "benchmarks/dvc.yaml", "beyond/dvc.yaml")
STAGES = {name: stage for file in FILES for name, stage in yaml.safe_load((ROOT / file).read_text())["stages"].items()}
PIPELINE = {name: stage.get("do", stage) for name, stage in STAGES.items()}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PACKAGE = ROOT / "lib" / "llmesr"


def stage_of(notebook):
    return notebook.stem.split("_", 1)[1]


def imported(source):
    """Top-level parts of llmesr that a piece of code imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("llmesr"):
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return found


def code_of(notebook):
    return [cell.source for cell in nbformat.read(notebook, 4).cells if cell.cell_type == "code"]


def room_imports(room):
    path = PACKAGE / room
    files = path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
    return set().union(*(imported(file.read_text()) for file in files))


def test_stage_notebook_room_settings_and_test_have_one_name():
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    numbered = [f"{number:02d}_{stage}" for number, stage in enumerate(PIPELINE, start=1)]
    assert [notebook.stem for notebook in NOTEBOOKS] == numbered
    assert tuple(PIPELINE)[: len(ROOMS)] == ROOMS
    for room in (*ROOMS, "study", "scale", "recommend", "cold", "diversity", "modalities"):
        assert (PACKAGE / room / "__init__.py").exists()
        assert room in settings
        assert (ROOT / "tests" / f"test_{room}.py").exists()


def test_the_map_in_the_readme_has_every_room_in_this_order_and_what_stands_at_the_top():
    drawn = (ROOT / "README.md").read_text(encoding="utf-8").split("## The map")[1].split("```")[1]
    assert re.findall(r"^  (\w+)/ ", drawn, re.MULTILINE) == list(ORDER)
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert rooms == {*ORDER, "settings"}
    named = re.findall(r"^([\w.]+)", drawn, re.MULTILINE)
    assert all((ROOT / name).exists() for name in named if name not in ("artifacts", "runs"))


def test_a_mentioned_lesson_is_a_link_to_it():
    files = {int(notebook.stem[:2]): notebook.name for notebook in NOTEBOOKS}
    for notebook in NOTEBOOKS:
        told = "\n".join(cell.source for cell in nbformat.read(notebook, 4).cells if cell.cell_type == "markdown")
        for number, file in re.findall(r"\[[Ll]esson (\d+)\]\(([^)]*)\)", told):
            assert files[int(number)] == file, notebook.name
        assert not re.search(r"(?<!\[)[Ll]esson \d", told), f"{notebook.name} mentions a lesson without a link"


@pytest.mark.parametrize("room", ORDER)
def test_rooms_import_only_from_rooms_before_them(room):
    later = set(ORDER[ORDER.index(room) + 1 :])
    assert not room_imports(room) & later


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_a_stage_depends_on_its_notebook_and_on_all_code_it_runs(notebook):
    needed, todo = set(), imported("\n".join(code_of(notebook))) & COMPUTES
    while todo:
        part = todo.pop()
        needed.add(part)
        todo |= (room_imports(part) & COMPUTES) - needed
    expected = {f"lib/llmesr/{part}" + ("" if (PACKAGE / part).is_dir() else ".py") for part in needed}
    deps = PIPELINE[stage_of(notebook)]["deps"]
    assert f"notebooks/{notebook.name}" in deps
    assert {dep for dep in deps if dep.startswith("lib/")} == expected


def test_embeddings_depend_on_the_language_models():
    assert "data/models" in PIPELINE["embed"]["deps"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_every_parameter_that_dvc_passes_exists(notebook):
    cells = [c for c in nbformat.read(notebook, 4).cells if "parameters" in c.metadata.get("tags", [])]
    assert len(cells) == 1
    known = {target.id for node in ast.parse(cells[0].source).body for target in node.targets}
    command = PIPELINE[stage_of(notebook)]["cmd"][-1]
    assert f"papermill notebooks/{notebook.name} " in command
    assert set(re.findall(r"-p (\w+)", command)) == known


def test_the_test_split_is_read_in_one_place():
    readers = [file for file in PACKAGE.rglob("*.py") if "test.parquet" in file.read_text()]
    assert [file.relative_to(PACKAGE).as_posix() for file in readers] == ["evaluate/__init__.py"]
    assert not [notebook for notebook in NOTEBOOKS if "test.parquet" in notebook.read_text()]
    for stage, content in PIPELINE.items():
        sees_it = any(dep.endswith(("/prepare/test.parquet", "${data.name}/prepare")) for dep in content["deps"])
        assert sees_it == (stage in ("evaluate", "variant"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_notebooks_are_clean_short_and_mostly_prose(notebook):
    content = json.loads(notebook.read_text())
    assert set(content["metadata"]) == {"kernelspec"}
    code = prose = 0
    for cell in content["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            prose += len(source)
            continue
        code += len(source)
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        assert set(cell["metadata"]) <= {"tags"}
        assert len(source.splitlines()) <= 18
        assert not re.search(r"^\s*(def|class) ", source, re.MULTILINE)
    assert prose > code
    assert 'params = "notebooks/tiny/params.yaml"' in "".join(code_of(notebook))
    for heading in ("**Question.**", "## What we learned", "**Try it.**"):
        assert heading in notebook.read_text()


def test_both_settings_files_have_the_same_keys_and_every_key_a_comment():
    def keys(node, path=()):
        if path[-1:] in SHARED or not isinstance(node, dict) or not node:
            return {path}
        return set().union(*(keys(value, (*path, key)) for key, value in node.items()))

    text = (ROOT / "params.yaml").read_text()
    tiny = (ROOT / "notebooks" / "tiny" / "params.yaml").read_text()
    assert keys(yaml.safe_load(text)) == keys(yaml.safe_load(tiny))
    assert not unexplained(text)


def unexplained(text):
    """Full paths of keys without a comment on their line; recipes and encoders share one explanation of each key."""
    lines, known, explained = text.splitlines(), set(), set()

    def walk(node, path=()):
        if not isinstance(node, yaml.MappingNode) or not node.value or path[-1:] == ("variants",):
            known.add(path)
            return
        for key, value in node.value:
            below = (*path, "*" if path[-1:] in SHARED else key.value)
            if re.search(r"\s#\s", lines[key.start_mark.line]):
                explained.add(below)
            walk(value, below)

    walk(yaml.compose(text))
    return known - explained


def test_a_comment_on_a_key_of_the_same_name_elsewhere_does_not_count():
    assert not unexplained("a:\n  n: 1  # int\nb:\n  n: 2  # int\n")
    assert unexplained("a:\n  n: 1  # int\nb:\n  n: 2\n") == {("b", "n")}
    assert not unexplained("recipes:\n  x:\n    n: 1  # int\n  y:\n    n: 2\n")


def test_pins_are_whole_and_conda_has_the_same():
    pins = (ROOT / "requirements.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins), "exact versions only, no local builds"
    pinned = {pin.split("==")[0].lower().replace("_", "-") for pin in pins}
    asked = (line.partition("#")[0] for line in (ROOT / "requirements.in").read_text().splitlines())
    assert {Requirement(line).name for line in asked} <= pinned
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert {"pip": ["-r requirements.txt", "-e ."]} in conda
    least = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert f"python={least.removeprefix('>=')}" in conda


def test_artifacts_are_ignored_as_a_whole():
    # else DVC writes a .gitignore beside each output, which a dependency on the folder above would then hold
    assert "/artifacts/" in (ROOT / ".gitignore").read_text().splitlines()


def test_data_dvc_pins_what_is_fetched():
    (pinned,) = yaml.safe_load((ROOT / "data.dvc").read_text())["outs"]
    assert pinned["path"] == "data"
    assert pinned["nfiles"] >= len(MEMBERS)  # one's own data is pinned as well


def test_files_and_functions_stay_small():
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text()
        assert len(text.splitlines()) <= 300, file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 55, f"{file}: {node.name}"


def test_saving_a_lesson_in_jupyterlab_leaves_it_as_it_was():
    for notebook in NOTEBOOKS:
        content = json.loads(notebook.read_text())
        content["metadata"]["language_info"] = {"name": "python", "version": "3.11"}
        for cell in content["cells"]:
            if cell["cell_type"] == "code":
                cell["execution_count"] = 1
                cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x"}]
                cell["metadata"]["execution"] = {"iopub.execute_input": "2026"}
        model = {"type": "notebook", "content": content}
        clean.on_save(model)
        assert nbformat.writes(model["content"]) + "\n" == notebook.read_text()
