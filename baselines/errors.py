"""The one exception that means "your input is wrong": the command line prints it and exits with code 2."""


class InputError(ValueError):
    """A file, setting or argument from outside is unusable.

    The message says what is wrong, where, and what to do about it. It quotes paths, keys and values from outside, so it
    is put on one line here, and characters that a terminal would obey are escaped.
    """

    def __init__(self, message: object):
        line = " ".join(str(message).splitlines())
        super().__init__("".join(char if char.isprintable() else repr(char)[1:-1] for char in line))
