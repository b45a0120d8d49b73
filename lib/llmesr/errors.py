"""The one error that a user of the pipeline can mend."""


class InputError(ValueError):
    """Bad input: one sentence that names the file, the row or the key, and what to do."""

    def _render_traceback_(self) -> list[str]:
        """Show the sentence alone in a notebook, where IPython asks for it: the way through the code helps nobody."""
        return [f"InputError: {self}"]
