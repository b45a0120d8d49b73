"""Notes are said once, and kept for whoever asks."""

from llmesr.notes import kept_notes, note


def test_a_note_is_said_at_once_and_only_once_where_they_are_kept(capsys):
    with kept_notes() as kept:
        for text in ("one", "two", "one"):
            note(text)
    note("three")
    assert kept == ["one", "two"]
    assert capsys.readouterr().err.splitlines() == ["note: one", "note: two", "note: three"]
