"""Run the command line in this process, as a person types it."""

import sys

from liftbench.bench import cli


def run(monkeypatch, capsys, *words):
    """Run `liftbench WORDS...` -> (exit code, stdout, stderr)."""
    monkeypatch.setattr(sys, "argv", ["liftbench", *map(str, words)])
    monkeypatch.setenv("LIFTBENCH_SCAN", "auto")  # what --scan sets does not outlive the test
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code or 0
    return code, *capsys.readouterr()
