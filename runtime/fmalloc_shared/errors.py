"""The root of every error that a user can mend."""


class FmallocError(Exception):
    """Bad input or a damaged artefact: the message names the file, the value and what would be right.

    Commands print it and exit with code 2; it never comes with a traceback.
    """
