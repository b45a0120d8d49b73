"""The one error that a user of the pipeline can mend."""


class InputError(ValueError):
    """Bad input: one sentence that names the file, the row or the key, and what to do."""
