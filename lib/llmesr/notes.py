"""What a reader must know of how their data was read: said at once, and kept for the dataset's card."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_kept: ContextVar[list[str] | None] = ContextVar("notes", default=None)


def note(text: str) -> None:
    """Say something that is no error, but that may not be what the reader meant; each once."""
    kept = _kept.get()
    if kept is None or text not in kept:
        print(f"note: {text}", file=sys.stderr)
    if kept is not None and text not in kept:
        kept.append(text)


@contextmanager
def kept_notes() -> Iterator[list[str]]:
    """Gather what is said inside."""
    gathered: list[str] = []
    token = _kept.set(gathered)
    try:
        yield gathered
    finally:
        _kept.reset(token)


def end_with_the_reader() -> None:
    """Let a command that prints much end in silence when nobody reads on, as with `| head`."""
    if hasattr(signal, "SIGPIPE"):  # Windows has none
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
