"""Every message of an error that a user meets says what cannot be done, why, and what to do."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("baselines", "bench", "kernels", "lift", "lstm_transformer", "mdtf", "pose3dm", "posemamba")
ERRORS = ("InputError", "ScanUnavailable", "TooBusy")
WHAT_TO_DO = ("advice", "hint", "remedy")  # the only values that may end a message: whole sentences
# Messages of other modules, which are in the same style and are passed on.
PASSED_ON = {"str(error)", "SLEEPING", "' '.join(refused)"}


def messages(source):
    """Yield (line, text) of each message in a module; a value in it stands as {value}."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and node.args and ast.unparse(node.func).split(".")[-1] in ERRORS:
            yield node.lineno, text_of(node.args[0])


def text_of(node):
    if isinstance(node, ast.JoinedStr):
        parts = (
            part.value if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}" for part in node.values
        )
        return "".join(parts)
    return node.value if isinstance(node, ast.Constant) else f"{{{ast.unparse(node)}}}"


def fault_of(text):
    """Return what is wrong with the style of a message, or None."""
    text = text.replace("{problem}", "{path}: {problem}")  # a place in a data file, and what is wrong there
    bare = re.sub(r"\{(\w+)[^{}]*\}", lambda value: value[0] if value[1] in WHAT_TO_DO else "VALUE", text)
    if not bare.startswith("Cannot "):
        return "does not start with Cannot"
    if not re.search(r": .*\. (`|[A-Z]|\{)", bare):
        return "does not give a reason after a colon, and what to do after a full stop"
    return None if re.search(r"([.?]|\{\w+\})$", bare) else "does not end in a full stop"


FOUND = [
    (f"{path.relative_to(ROOT)}:{line}", text)
    for folder in FOLDERS
    for path in sorted(ROOT.joinpath(folder).rglob("*.py"))
    for line, text in messages(path.read_text(encoding="utf-8"))
]


def test_all_messages_are_found():
    assert len(FOUND) > 150
    assert len({place.partition("/")[0] for place, _ in FOUND}) >= 4


@pytest.mark.parametrize("place, text", FOUND, ids=[place for place, _ in FOUND])
def test_style(place, text):
    if text.strip("{}") not in PASSED_ON:
        assert not fault_of(text), f"{place}: {text!r} {fault_of(text)}"


@pytest.mark.parametrize(
    "text",
    [
        "There is no file {path}; check the path.",
        "Cannot read {path}. Check the path.",
        "Cannot read {path}: it is damaged; copy it again.",
        "Cannot read {path}: it is damaged. Copy it again",
        "Cannot read {path}: {error}",
    ],
)
def test_other_styles_are_noticed(text):
    assert fault_of(text)
