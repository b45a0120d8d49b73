"""Keep lessons clean: JupyterLab, as `make lab` starts it, saves them without outputs, counts and run metadata.

A lesson is a dependency of its stage, so saving outputs into it would make DVC run the stage again. What DVC executed
lies under `runs/`, outputs and all.
"""

from typing import Any

import nbformat
from nbstripout import strip_output

# those that nbstripout's command removes by default, and the kernel's description
RUN_METADATA = [
    "metadata.language_info",
    "metadata.signature",
    "metadata.widgets",
    "cell.metadata.collapsed",
    "cell.metadata.ExecuteTime",
    "cell.metadata.execution",
    "cell.metadata.heading_collapsed",
    "cell.metadata.hidden",
    "cell.metadata.scrolled",
    "cell.metadata.trusted",
]


def on_save(model: dict[str, Any], **_: object) -> None:
    """Strip a notebook that is about to be saved (a `pre_save_hook` of Jupyter's contents manager)."""
    if model["type"] == "notebook":
        notebook = nbformat.from_dict(model["content"])
        model["content"] = strip_output(
            notebook, keep_output=False, keep_count=False, keep_id=True, extra_keys=RUN_METADATA
        )
