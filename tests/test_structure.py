"""The repository keeps its shape: core apart from extras, one pipeline that fits its notebooks, exact pins."""

import ast
import json
import re
import tomllib
from itertools import chain
from pathlib import Path

import nbformat
import pytest
import yaml
from helpers import ROOT
from llmesr.paths import TINY_PARAMS
from llmesr.tools import clean
from packaging.requirements import Requirement

PACKAGE = ROOT / "lib" / "llmesr"
ORDER = ("prepare", "embed", "retrieve", "models", "train", "runs", "evaluate", "experiments", "recommend", "report")
"""The parts of the core; one imports only from those before it."""
CORE = (*ORDER, "settings")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ALL_NOTEBOOKS = sorted(file for file in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_" not in str(file))
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
STUDIES = yaml.safe_load((ROOT / "experiments.yaml").read_text())
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())


def files_of(part: str) -> list[Path]:
    """The Python files of a part of the package, a folder or a single file."""
    path = PACKAGE / part
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def imports(file: Path) -> set[str]:
    """All that a file imports of this package, inside of functions, too: `llmesr.part.module.name`."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports are not looked at here"
            found |= {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name for name in found if name.split(".")[0] == "llmesr"}


def part_of(name: str) -> str:
    return [*name.split("."), ""][1]


def shell(stage: dict) -> str:
    return " ".join([stage["cmd"]] if isinstance(stage["cmd"], str) else stage["cmd"])


def cells(notebook: Path, kind: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(notebook, 4).cells if cell.cell_type == kind]


# --- the package ---


@pytest.mark.parametrize("part", CORE)
def test_the_core_never_imports_extras_or_tools(part):
    for file in files_of(part):
        found = {name for name in imports(file) if part_of(name) in ("extras", "tools")}
        assert not found, f"{file.relative_to(ROOT)} imports {found}"


def test_no_other_module_imports_extras_or_tools_either():
    """But for the helper of the tiny dataset, which runs the stage of an extra."""
    for kind, known in (("tools", []), ("extras", ["tiny.py"])):
        importing = [file.name for file in PACKAGE.glob("*.py") if kind in map(part_of, imports(file))]
        assert importing == known


@pytest.mark.parametrize("part", ORDER)
def test_parts_of_the_core_import_only_from_parts_before_them(part):
    later = ORDER[ORDER.index(part) + 1 :]
    for file in files_of(part):
        found = {name for name in imports(file) if part_of(name) in later}
        assert not found, f"{file.relative_to(ROOT)} imports {found}"


@pytest.mark.parametrize("part", ["models", "train"])
def test_what_is_trained_knows_neither_the_settings_nor_the_other_methods(part):
    """Else a key or a method that is added would change the fingerprint of every run."""
    for file in files_of(part):
        found = {name for name in imports(file) if name.startswith(("llmesr.settings", "llmesr.models.registry"))}
        assert not found, f"{file.relative_to(ROOT)} imports {found}"


def test_a_method_imports_no_other_method_but_the_one_it_extends():
    methods = PACKAGE / "models" / "methods"
    for file in sorted(methods.glob("*.py")):
        others = {name.split(".")[3] for name in imports(file) if name.startswith("llmesr.models.methods.")}
        assert len(others) <= 1, f"{file.name} imports {others}"


# --- the test split ---


def test_the_test_split_is_read_in_one_place():
    sources = [*PACKAGE.rglob("*.py"), *ALL_NOTEBOOKS]
    readers = [file.relative_to(ROOT).as_posix() for file in sources if "test.parquet" in file.read_text()]
    assert readers == ["lib/llmesr/evaluate/__init__.py"]


def test_only_the_evaluation_and_the_studies_depend_on_the_test_split():
    whole = re.compile(r"artifacts/[^/]+/prepare(/test\.parquet)?")
    readers = {name for name, stage in STAGES.items() if any(map(whole.fullmatch, stage.get("deps", [])))}
    assert "evaluate" in readers
    assert readers <= {"evaluate", *STUDIES}


# --- the pipeline ---


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_depends_on_is_in_the_repository(stage):
    deps = [dep for dep in STAGES[stage].get("deps", []) if dep.startswith(("lib/", "notebooks/"))]
    assert [dep for dep in deps if not (ROOT / dep).exists()] == []


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_depends_on_is_the_output_of_another_or_in_the_repository(stage):
    outputs = set()
    for other in STAGES.values():
        for out in [*other.get("outs", []), *other.get("metrics", [])]:
            outputs.add(out if isinstance(out, str) else next(iter(out)))
    made = [dep for dep in STAGES[stage].get("deps", []) if "${" in dep]
    for dep in made:
        near = [out for out in outputs if out == dep or dep.startswith(f"{out}/") or out.startswith(f"{dep}/")]
        assert near, f"nothing makes {dep}"


@pytest.mark.parametrize("stage", [name for name, stage in STAGES.items() if "papermill" in shell(stage)])
def test_a_stage_runs_a_notebook_that_is_there_and_depends_on_it(stage):
    (notebook,) = re.findall(r"papermill .*?(notebooks/\S+\.ipynb)", shell(STAGES[stage]))
    assert (ROOT / notebook).exists()
    assert notebook in STAGES[stage]["deps"]
    assert notebook.split("_", 1)[1] == f"{stage}.ipynb"


def papermill_calls() -> list[tuple[str, list[str]]]:
    """Every notebook that the pipeline or the Makefile executes, and the parameters that it is given."""
    commands = [shell(stage) for stage in STAGES.values()]
    commands += (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    found = []
    for command in commands:
        if call := re.search(r"papermill .*?(notebooks/\S+\.ipynb)", command):
            found.append((call[1], re.findall(r" -[pry] (\w+)", command[call.end() :])))
    return found


@pytest.mark.parametrize(("notebook", "names"), papermill_calls(), ids=lambda value: str(value))
def test_every_parameter_that_is_passed_exists(notebook, names):
    (cell,) = [cell for cell in cells(ROOT / notebook, "code") if "parameters" in cell.metadata.get("tags", [])]
    known = {target.id for node in ast.parse(cell.source).body for target in node.targets}
    assert "params" in names
    assert set(names) <= known


@pytest.mark.parametrize("stage", STAGES)
def test_every_key_that_a_stage_depends_on_is_in_its_settings_file(stage):
    for entry in STAGES[stage].get("params", []):
        if isinstance(entry, dict):
            assert entry == {"experiments.yaml": [stage]}
            assert stage in STUDIES
            continue
        node = PARAMS
        for part in entry.split("."):
            assert part in node, entry
            node = node[part]


def test_every_study_has_a_stage():
    with_studies = {name for name, stage in STAGES.items() if {"experiments.yaml": [name]} in stage.get("params", [])}
    assert with_studies == set(STUDIES)


def test_artifacts_are_ignored_as_a_whole():
    # else DVC writes a .gitignore beside each output, which a dependency on the folder above would then hold
    assert "/artifacts/" in (ROOT / ".gitignore").read_text().splitlines()


def test_data_dvc_names_single_files_so_that_ones_own_data_does_not_change_it():
    outs = yaml.safe_load((ROOT / "data.dvc").read_text())["outs"]
    assert all(out["path"].startswith("data/") and Path(out["path"]).suffix for out in outs)
    assert not any(out["md5"].endswith(".dir") for out in outs)


# --- settings files ---


def test_the_dataset_is_the_first_key_so_that_one_line_swaps_it():
    lines = [line for line in (ROOT / "params.yaml").read_text().splitlines() if not line.startswith("#")]
    assert lines[0].startswith("dataset: ")
    assert next(iter(PARAMS)) == "dataset"
    assert PARAMS["dataset"] in PARAMS["datasets"]


def test_settings_files_stay_short():
    assert len((ROOT / "params.yaml").read_text().splitlines()) <= 160
    assert len((ROOT / TINY_PARAMS).read_text().splitlines()) <= 35


# --- notebooks ---


@pytest.mark.parametrize("notebook", ALL_NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_notebooks_are_clean(notebook):
    assert not clean.clean(notebook, write=False), "run `make strip`"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_saving_a_lesson_in_jupyterlab_leaves_it_as_it_was(notebook):
    content = json.loads(notebook.read_text())
    content["metadata"]["language_info"] = {"name": "python", "version": "3.11"}
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell["execution_count"] = 1
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x"}]
            cell["metadata"]["execution"] = {"iopub.execute_input": "2026"}
    model = {"type": "notebook", "content": content}
    clean.on_save(model)
    assert nbformat.writes(model["content"]).rstrip("\n") + "\n" == notebook.read_text()


OPENED = [notebook for notebook in NOTEBOOKS if notebook.stem != "25_own_data"]  # which makes a shop of its own


@pytest.mark.parametrize("notebook", OPENED, ids=lambda notebook: notebook.stem)
def test_a_lesson_opens_with_the_tiny_dataset_and_first_computes_what_is_missing(notebook):
    code = "\n".join(cell.source for cell in cells(notebook, "code"))
    assert f'params = "{TINY_PARAMS}"' in code
    loaded = re.search(r"^settings = load\(params\b", code, re.MULTILINE)
    starts = re.search(r"^(tiny\.(run|start)\(settings\b|\w+ = studies\.run\()", code, re.MULTILINE)
    assert loaded
    assert starts
    assert loaded.start() < starts.start()
    assert not re.search(r"\b(\w+\.load|load_dataset|train_all)\(", code[: starts.start()])


@pytest.mark.parametrize("notebook", ALL_NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_links_in_a_notebook_lead_to_files(notebook):
    prose = "\n".join(cell.source for cell in cells(notebook, "markdown"))
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", prose)
    assert [link for link in links if not (notebook.parent / link).exists()] == []


# --- pins ---


def names_of(lines: list[str]) -> set[str]:
    return {Requirement(line).name.lower().replace("_", "-") for line in lines}


def test_pins_are_exact_and_cover_all_that_is_asked_for():
    pins = (ROOT / "requirements.txt").read_text().splitlines()
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == [], "exact versions, no local builds"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    assert names_of(asked) - names_of(pins) - {"llmesr"} == set(), "run `make lock`"


def test_conda_installs_the_same_pins():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert {"pip": ["-r requirements.txt", "-e ."]} in conda
    least = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert f"python={least.removeprefix('>=')}" in conda


@pytest.mark.parametrize("stage", [name for name, stage in STAGES.items() if "papermill" in shell(stage)])
def test_names_reach_a_notebook_as_they_are(stage):
    """With papermill's -p a dataset called `no` would become false."""
    assert " -r dataset ${item.dataset}" in " ".join(shell(STAGES[stage]).split())
    assert " -p " not in shell(STAGES[stage])


def test_testing_deletes_nothing():
    recipe = re.search(r"^test:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert all(line.startswith("\tpytest ") for line in recipe.splitlines())
