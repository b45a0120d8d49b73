"""papermill as the pipeline calls it: `python -m llmesr.tools.papermill IN.ipynb OUT.ipynb -r dataset my-shop`.

It takes papermill's own arguments. What it adds: the folder of the output is made, progress is shown as it comes, a
parameter that the notebook does not have is an error, and bad input is one sentence instead of a traceback.
"""

import re
import sys
from itertools import pairwise
from pathlib import Path

import papermill
from papermill.cli import papermill as command
from papermill.exceptions import PapermillExecutionError

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def main(arguments: list[str]) -> None:
    """Execute a notebook.

    Args:
        arguments: the notebook, where its executed copy goes, and papermill's options.
    """
    if len(arguments) < 2 or arguments[0].startswith("-"):
        sys.exit(
            "usage: python -m llmesr.tools.papermill IN.ipynb OUT.ipynb [-r PARAMETER VALUE …], for example\n"
            "python -m llmesr.tools.papermill notebooks/06_overall.ipynb runs/tiny/06_overall.ipynb"
        )
    source, target = (Path(name) for name in arguments[:2])
    known = papermill.inspect_notebook(str(source))
    given = [name for option, name in pairwise(arguments) if option in ("-p", "-r")]
    if unknown := [name for name in given if name not in known]:
        sys.exit(f"{source} has no parameter '{unknown[0]}' (it has {', '.join(known)})")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        command.main([*arguments, "--no-progress-bar", "--stderr-file", "-"], standalone_mode=False)
    except PapermillExecutionError as error:
        if error.ename == "InputError":
            sys.exit(f"\n{source.name}: {error.evalue}")
        sys.exit(f"\n{source.name}, cell {error.exec_count}:\n" + COLOURS.sub("", "\n".join(error.traceback)))
    except OSError as error:  # papermill writes the executed copy after every cell
        sys.exit(f"\n{source.name}: {target} cannot be written ({error}): make room on the disk, and run again")


if __name__ == "__main__":
    main(sys.argv[1:])
