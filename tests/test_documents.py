"""Links in Markdown files lead somewhere; the README is short; run_all.sh keeps time; no folder is a long list."""

import re
import shutil
import subprocess
from pathlib import PurePosixPath
from urllib.parse import unquote

import pytest

from support import ROOT

pytestmark = pytest.mark.skipif(
    not (ROOT / ".git").exists() or shutil.which("git") is None, reason="not a git checkout"
)
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
ELSEWHERE = re.compile("[a-z]+:")


def tracked(pattern):
    done = subprocess.run(["git", "ls-files", "-z", pattern], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).exists()]


def prose(path):
    """Return a Markdown file without its code."""
    text = re.sub(r"^(```|~~~).*?^\1", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"(`+)[^`]+\1(?!\])", "", text)


def anchors(path):
    """Return the anchors that GitHub gives the headings of a Markdown file, and those that it sets itself."""
    text = re.sub(r"^(```|~~~).*?^\1", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    found, seen = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text)), {}
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", text, flags=re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if slug in seen else slug)
        seen[slug] = seen.get(slug, 0) + 1
    return found


def broken(name):
    """Return the links of a file that lead nowhere."""
    path = ROOT / name
    for link in LINK.findall(prose(path)):
        if ELSEWHERE.match(link):
            continue
        file, _, anchor = unquote(link).partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or not target.is_relative_to(ROOT.resolve()) or not in_git(target):
            yield link
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            yield link


def in_git(target):
    return bool(tracked(str(target.relative_to(ROOT.resolve())) or "."))


@pytest.mark.parametrize("name", tracked("*.md") if (ROOT / ".git").exists() else [])
def test_relative_links_lead_somewhere(name):
    assert not list(broken(name))


def test_broken_links_are_found(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "a.md").write_text(
        "# One `two`, three\n\n[x](#one-two-three) [y](#four) [z](b.md) ![w](c.png) [v](https://a.b)"
    )
    (tmp_path / "b.md").write_text("## Four\n")
    subprocess.run(["git", "-C", str(tmp_path), "add", "."], check=True)
    assert list(broken("a.md")) == ["#four", "c.png"]


def test_the_readme_is_short_and_calls_the_command_one_way():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 160
    assert text.count("source .venv/bin/activate") == 1 and ".venv/bin/liftbench" not in text


def test_run_all_prints_the_time_of_each_step_and_repeats_none(tmp_path):
    """A command that does nothing replaces liftbench."""
    shutil.copy(ROOT / "run_all.sh", tmp_path)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in ("python", "liftbench"):
        (tmp_path / ".venv/bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / ".venv/bin" / name).chmod(0o755)

    def lines():
        done = subprocess.run([tmp_path / "run_all.sh"], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    first = lines()
    steps = [number for number, line in enumerate(first) if line.startswith("$ liftbench ")]
    assert len(steps) > 15 and all(re.fullmatch(r"  \d+ s", first[number + 1]) for number in steps)
    assert any(re.match(r"Everything took \d+ min \d+ s", line) for line in first)
    assert sum(line.startswith("(done before) liftbench ") for line in lines()) >= len(steps) - 5


def test_no_folder_lists_more_than_a_dozen():
    """README.md, __init__.py and conftest.py do not count, nor does the root: tools look for their files there."""
    listed = {}
    for name in tracked("*"):
        for path in (PurePosixPath(name), *PurePosixPath(name).parents):
            if path.parent != PurePosixPath(".") and path.name not in ("README.md", "__init__.py", "conftest.py"):
                listed.setdefault(path.parent, set()).add(path.name)
    assert {str(folder): len(names) for folder, names in listed.items() if len(names) > 12} == {}
