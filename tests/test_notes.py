"""Notes are said once, and kept for whoever asks."""

import signal
import subprocess
import sys

import pytest
from llmesr.notes import kept_notes, note


def test_a_note_is_said_at_once_and_only_once_where_they_are_kept(capsys):
    with kept_notes() as kept:
        for text in ("one", "two", "one"):
            note(text)
    note("three")
    assert kept == ["one", "two"]
    assert capsys.readouterr().err.splitlines() == ["note: one", "note: two", "note: three"]


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="there is no such signal")
def test_a_command_whose_reader_is_gone_ends_in_silence():
    script = "from llmesr.notes import end_with_the_reader as end\nend()\nfor i in range(10**6): print(i)"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == -signal.SIGPIPE
