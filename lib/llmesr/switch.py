"""Switch the dataset or the methods, or list the runs or the variants, from the command line.

`python -m llmesr.switch NAME` writes what presets/NAME.yaml holds into params.yaml and leaves its comments alone;
without such a file `data.name` and `data.source` change, and what names columns of a dataset is taken back.
`--all-methods` puts the paper's and our own into `matrix.methods`. `--runs` prints the DVC targets of all runs, the
slowest first, `--variants` those of the studies that `study.questions` names, `--reports` what puts them together.
"""

import sys
from pathlib import Path
from typing import Any, get_args

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter

from llmesr.errors import InputError
from llmesr.paths import ROOT, replacing, shown
from llmesr.settings import hint, load
from llmesr.settings.methods import MethodName

SLOWEST_FIRST = (
    ("cities", "melt", "llmesr", "dualmatch", "rlmrec_con", "rlmrec_gen", "none", "llminit"),
    ("bert4rec", "sasrec", "gru4rec"),
)


OF_NOBODY = {
    "diversity.category": None,
    "diversity.separator": None,
    "diversity.attributes": [],
    "study.variants.dualmatch-adv-user.change.train.adversary": "popularity",
    "study.questions": ["ablation", "hyperparameters", "similarity", "language", "stronger", "debias"],
    "modalities.make": [],
}
"""What presets say of columns that a dataset of one's own need not have."""


class _Representer(RoundTripRepresenter):
    """Writes null as `null`; ruamel would leave the value empty."""


_Representer.add_representer(type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null"))


def switch(name: str, file: Path = ROOT / "params.yaml", presets: Path = ROOT / "presets") -> None:
    """Turn a settings file to another dataset.

    Args:
        name: of a preset, or of a folder of one's own data.
        file: the settings, whose comments and form stay as they are.
        presets: the folder of `<name>.yaml`, each with dotted keys and their values. Without one of that name
            `data.name` is set, `data.source` to `auto`, and what names columns or modalities of another dataset is
            taken back; other keys keep what an earlier preset gave them. Nothing changes if it is the dataset already.

    Raises:
        InputError: a file is no YAML, a preset's key is not in the settings, or they would not be valid afterwards.
    """
    yaml = _yaml()
    preset = {path.stem: path for path in presets.glob("*.yaml")}.get(name)
    changes = _read(yaml, preset) if preset else {"data.name": name, "data.source": "auto", **OF_NOBODY}
    if not preset and _read(yaml, file).get("data", {}).get("name") == name:
        return  # what has been set for it stays
    _change(yaml, changes, file, preset or file)


STUDIED_ONLY = ("whitenrec", "unisrec", "alphafuse", "multiview")
"""Methods that are rows of a study, on one backbone."""


def all_methods(file: Path = ROOT / "params.yaml") -> None:
    """Put the paper's methods and our own into `matrix.methods` of a settings file.

    Raises:
        InputError: the file is no YAML or has no such key.
    """
    methods = [name for name in get_args(MethodName) if name not in STUDIED_ONLY]
    _change(_yaml(), {"matrix.methods": methods}, file, file)


def _yaml() -> YAML:
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = 10_000  # never break a line
    return yaml


def _change(yaml: YAML, changes: dict[str, Any], file: Path, source: Path) -> None:
    """Set dotted keys of a settings file; `source` is who asks for it."""
    settings = _read(yaml, file)
    for key, value in changes.items():
        _set(settings, key, value, source)
    with replacing(file) as temporary:
        with temporary.open("w", encoding="utf-8") as stream:
            yaml.dump(settings, stream)
        try:
            load(temporary)
        except InputError as problem:  # which names the temporary file
            raise InputError(str(problem).replace(shown(temporary), shown(source))) from None


def targets() -> list[str]:
    """Name every run as DVC does, the slowest method first so that parallel workers end together."""
    runs = load().matrix.runs()
    methods, backbones = SLOWEST_FIRST

    def place(name: str, known: tuple[str, ...]) -> int:
        return known.index(name) if name in known else -1  # of unknown speed: rather early

    runs.sort(key=lambda run: (place(run[1], methods), place(run[0], backbones), run[2]))
    return [f"train@{backbone}-{method}-{seed}" for backbone, method, seed in runs]


def variants() -> list[str]:
    """Name every variant of the studies that are asked for, as DVC does, but for those that the matrix trains."""
    settings = load()
    asked = [name for name, about in settings.study.variants.items() if about.study in settings.study.questions]
    return [f"study/dvc.yaml:variant@{name}" for name in asked if not settings.trained_by_matrix(name)]


def reports() -> list[str]:
    """Name the stages that put together the studies that are asked for, as DVC does."""
    beyond = ("debias", "ugc", "fusion")
    return [f"{'beyond' if name in beyond else 'study'}/dvc.yaml:{name}" for name in load().study.questions]


def _read(yaml: YAML, file: Path) -> dict[str, Any]:
    try:
        content = yaml.load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{shown(file)} does not exist: name a settings file") from None
    except YAMLError as error:
        raise InputError(f"{shown(file)} is no valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{shown(file)} holds no keys: write 'key: value' lines")
    return content


def _set(settings: dict[str, Any], key: str, value: object, file: Path) -> None:
    """Set a dotted key that is there already."""
    *parents, leaf = str(key).split(".")
    section: Any = settings
    for parent in parents:
        section = section.get(parent) if isinstance(section, dict) else None
    if not isinstance(section, dict) or leaf not in section:
        raise InputError(f"{shown(file)}: unknown key '{key}' (value {value!r}): {hint(str(key))}")
    if isinstance(value, list):
        value = CommentedSeq(value)
        value.fa.set_flow_style()  # on one line, as it was
    section[leaf] = value


if __name__ == "__main__":
    try:
        if sys.argv[1:] == ["--runs"]:
            print("\n".join(targets()))
        elif sys.argv[1:] == ["--variants"]:
            print("\n".join(variants()))
        elif sys.argv[1:] == ["--reports"]:
            print("\n".join(reports()))
        elif sys.argv[1:] == ["--all-methods"]:
            all_methods()
        elif len(sys.argv) == 2:
            switch(sys.argv[1])
        else:
            sys.exit("usage: python -m llmesr.switch NAME | --all-methods | --runs | --variants | --reports")
    except InputError as problem:
        sys.exit(str(problem))
