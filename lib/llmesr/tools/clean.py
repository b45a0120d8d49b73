"""Keep lessons clean: no outputs, counts and run metadata. The one place that says what is stripped.

A lesson is a dependency of its stage, so outputs saved into it would make DVC run the stage again. What DVC executed
lies under `runs/`, outputs and all. Three things use this module: `python -m llmesr.tools.clean` (`make strip`), the
hook of `.pre-commit-config.yaml`, and JupyterLab, which `make lab` starts with
`--ContentsManager.pre_save_hook=llmesr.tools.clean.on_save`.
"""

import argparse
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbstripout import strip_output

from llmesr.paths import ROOT, replacing, shown

LESSONS = ROOT / "notebooks"
RUN_METADATA = [
    "metadata.language_info",
    "metadata.signature",
    "metadata.widgets",
    "metadata.papermill",
    "cell.metadata.collapsed",
    "cell.metadata.ExecuteTime",
    "cell.metadata.execution",
    "cell.metadata.heading_collapsed",
    "cell.metadata.hidden",
    "cell.metadata.papermill",
    "cell.metadata.scrolled",
    "cell.metadata.trusted",
]
"""What running a notebook leaves in it, beside outputs and counts. Cell ids and tags are kept."""


def stripped(notebook: NotebookNode) -> NotebookNode:
    """Strip a notebook, in place."""
    return strip_output(notebook, keep_output=False, keep_count=False, keep_id=True, extra_keys=RUN_METADATA)


def on_save(model: dict[str, Any], **_: object) -> None:
    """Strip a notebook that is about to be saved (a `pre_save_hook` of Jupyter's contents manager)."""
    if model["type"] == "notebook":
        model["content"] = stripped(nbformat.from_dict(model["content"]))


def clean(file: Path, *, write: bool = True) -> bool:
    """Strip a notebook file; return whether there was anything to strip."""
    before = file.read_text(encoding="utf-8")
    after = nbformat.writes(stripped(nbformat.reads(before, nbformat.NO_CONVERT)))
    after = after.rstrip("\n") + "\n"
    if write and after != before:
        with replacing(file) as temporary:
            temporary.write_text(after, encoding="utf-8")
    return after != before


def main() -> None:
    """Clean the lessons, or only say which are not clean."""
    parser = argparse.ArgumentParser(prog="llmesr.tools.clean", description="Strip outputs from notebooks.")
    parser.add_argument("files", nargs="*", type=Path, help="notebooks (default: all below notebooks/)")
    parser.add_argument("--check", action="store_true", help="change nothing, and fail if a notebook is not clean")
    arguments = parser.parse_args()
    files = arguments.files or [file for file in sorted(LESSONS.rglob("*.ipynb")) if ".ipynb_" not in str(file)]
    dirty = [file for file in files if clean(file, write=not arguments.check)]
    if dirty and arguments.check:
        parser.exit(1, f"not clean: {', '.join(shown(file) for file in dirty)}: run `make strip`\n")


if __name__ == "__main__":
    main()
