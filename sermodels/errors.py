"""The one exception that stands for a mistake of the user."""


class UserError(ValueError):
    """Bad input: one line that names the culprit, what was found, what was expected and the way out.

    The jobs print it on standard error and exit with code 2; nothing is half-written.
    """
