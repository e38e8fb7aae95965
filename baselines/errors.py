"""The one exception that means "your input is wrong": the command line prints it and exits with code 2."""


class InputError(ValueError):
    """A file, setting or argument from outside is unusable.

    The message is one sentence: what was wrong, where, and what to do about it.
    """
