"""Switch the dataset, or list the runs, from the command line.

`python -m llmesr.switch NAME` writes `data.name` into params.yaml and leaves its comments alone;
`python -m llmesr.switch --runs` prints the DVC targets of all runs, the slowest first.
"""

import re
import sys
from pathlib import Path

from llmesr.errors import InputError
from llmesr.paths import ROOT, replacing
from llmesr.settings import load

SLOWEST_FIRST = (
    ("llmesr", "melt", "cities", "rlmrec_gen", "rlmrec_con", "llminit", "none"),
    ("bert4rec", "sasrec", "gru4rec"),
)


def switch(name: str, file: Path = ROOT / "params.yaml") -> None:
    """Set `data.name`, and `data.source` to `auto`, in a settings file.

    Raises:
        InputError: the file does not have the keys, or would not be valid afterwards.
    """
    text = file.read_text(encoding="utf-8")
    section = re.search(r"^data:\n(?:[ #].*\n|\n)*", text, re.MULTILINE)
    if section is None:
        raise InputError(f"{file.name} has no section 'data': add it")
    changed = re.sub(r"^(  name: +)[^\s#]+", rf"\g<1>{name}", section[0], flags=re.MULTILINE)
    changed = re.sub(r"^(  source: +)[^\s#]+", r"\g<1>auto", changed, flags=re.MULTILINE)
    with replacing(file) as temporary:
        temporary.write_text(text.replace(section[0], changed), encoding="utf-8")
        load(temporary)


def targets() -> list[str]:
    """Name every run as DVC does, the slowest method first so that parallel workers end together."""
    runs = load().matrix.runs()
    methods, backbones = SLOWEST_FIRST
    runs.sort(key=lambda run: (methods.index(run[1]), backbones.index(run[0]), run[2]))
    return [f"train@{backbone}-{method}-{seed}" for backbone, method, seed in runs]


if __name__ == "__main__":
    try:
        if sys.argv[1:] == ["--runs"]:
            print("\n".join(targets()))
        elif len(sys.argv) == 2:
            switch(sys.argv[1])
        else:
            sys.exit("usage: python -m llmesr.switch NAME | --runs")
    except InputError as problem:
        sys.exit(str(problem))
