"""The one error that a user of the pipeline can mend."""

MOST = 1200
"""Characters of a message; what a file holds may be longer."""


class InputError(ValueError):
    """Bad input: one sentence that names the file, the row or the key, and what to do. It never grows with the file."""

    def __init__(self, message: str) -> None:
        half = MOST // 2
        super().__init__(message if len(message) <= MOST else f"{message[:half]} … {message[-half:]}")

    def _render_traceback_(self) -> list[str]:
        """Show the sentence alone in a notebook, where IPython asks for it: the way through the code helps nobody."""
        return [f"InputError: {self}"]
