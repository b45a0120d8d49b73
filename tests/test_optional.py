"""An optional package that is missing is named, with the extra that brings it."""

import subprocess
import sys

import pytest
from llmesr.errors import InputError
from llmesr.optional import optional

CORE = ("prepare", "embed", "embed.local_encoder", "retrieve", "evaluate", "runs.pool", "experiments", "recommend")
PACKAGES = ("phonenumbers", "datasketch", "py3langid", "vaderSentiment", "peft", "torch_geometric", "soundfile")


def test_a_missing_package_is_named_with_its_extra():
    with (
        pytest.raises(InputError, match=r"'no_such_package' is not installed: run `pip install 'llmesr\[ugc\]'`"),
        optional("ugc"),
    ):
        import no_such_package  # noqa: F401


def test_what_is_there_is_imported_and_other_errors_pass():
    with optional("ugc"):
        import json
    assert json.dumps(1) == "1"
    with pytest.raises(ZeroDivisionError), optional("ugc"):
        1 / 0  # noqa: B018


@pytest.mark.slow
def test_the_core_runs_without_optional_packages_and_extras_name_theirs():
    code = f"""
import sys
for package in {PACKAGES!r}:
    sys.modules[package] = None  # its import now fails
import importlib
for module in {CORE!r}:
    importlib.import_module(f"llmesr.{{module}}")
assert not [name for name in sys.modules if name.startswith("llmesr.extras")]
from llmesr.errors import InputError
from llmesr.extras import modalities, ugc
for module, extra in (("ugc.clean", "ugc"), ("ugc.tune", "ugc"), ("modalities.knowledge", "modalities"),
                      ("modalities.interaction_graph", "modalities"), ("modalities.audio", "modalities")):
    try:
        importlib.import_module(f"llmesr.extras.{{module}}")
    except InputError as error:
        assert f"llmesr[{{extra}}]" in str(error), error
    else:
        raise AssertionError(module)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-2000:]
