"""The one exception that means "your input is wrong": the command line prints it and exits with code 2."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_WORDS = {
    "missing": "it is missing",
    "extra_forbidden": "no such key is known",
    "model_type": "it should hold 'key: value' lines",
    "dict_type": "it should hold 'key: value' lines",
}  # for some types of pydantic's errors


class InputError(ValueError):
    """A file, setting or argument from outside is unusable.

    The message says what is wrong, where, and what to do about it. It quotes paths, keys and values from outside, so it
    is put on one line here, and characters that a terminal would obey are escaped.
    """

    def __init__(self, message: object):
        line = " ".join(str(message).splitlines())
        super().__init__("".join(char if char.isprintable() else repr(char)[1:-1] for char in line))


def in_words(found: "ErrorDetails") -> str:
    """Say what pydantic finds wrong with a value. Our own validators say it themselves."""
    if found["type"] == "union_tag_invalid":
        return f"{found['ctx']['tag']!r} is none of {found['ctx']['expected_tags']}"
    message = _WORDS.get(found["type"], found["msg"].removeprefix("Value error, "))
    return message.replace("Input should be", "it should be")
