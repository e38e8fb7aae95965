"""An installation is complete, nothing on the import path can take its place, and imports go downwards."""

import ast
import inspect
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path, PurePosixPath

import pytest

import liftbench
from support import ROOT

NOT_INSTALLED = {".md", ".cpp", ".h", ".so", ".pyc", ".py", ".typed"}  # or by other means than package data
CODE = ("baselines", "bench", "kernels", "lift", "lstm_transformer", "mdtf", "pose3dm", "posemamba")
RUN_A_MODEL = """
import kernels, torch, liftbench
assert kernels.WHOSE == "another project's", kernels.__file__
assert "liftbench.kernels" not in kernels.__name__
pose = liftbench.create_model("posemamba_toy")(torch.zeros(1, 9, 17, 2))
print(tuple(pose.shape), liftbench.__file__)
"""
RUN_COMMANDS = """
import os, sys
from pathlib import Path
from liftbench.bench import cli
from liftbench.bench.report import results
from liftbench.kernels import cpu
assert cpu.unusable("cpu") is None, "the C++ scan is in the wheel"
assert results.load(None).cost, "reference records are in the wheel"
results.REFERENCE = Path(os.environ["SMALL_REFERENCE"])  # to draw all of them takes ten seconds
for command in (
    "data synthetic --frames 10000",
    "train toy/mlp --epochs 1",
    "evaluate runs/toy/mlp",
    "measure cost mlp --frames 9",
    "render",
):
    sys.argv = ["liftbench", *command.split()]
    try:
        cli.main()
    except SystemExit as end:
        assert not end.code, command
"""


PAPERS = ("lstm_transformer", "mdtf", "pose3dm", "posemamba")
FLOORS = (("kernels",), PAPERS, ("baselines",), ("lift",), ("bench",))  # from the ground up


@pytest.fixture(scope="module")
def setuptools():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return pytest.importorskip("tomllib").loads(text)["tool"]["setuptools"]


def folder_of(package):
    """The folder of an installed package, as `package-dir` maps it."""
    return ROOT / ("liftbench" if package == "liftbench" else package.removeprefix("liftbench.").replace(".", "/"))


def test_every_package_is_installed(setuptools):
    files = [file for top in CODE for file in (ROOT / top).rglob("*.py")]
    tree = {".".join(("liftbench", *file.relative_to(ROOT).parent.parts)) for file in files}
    assert tree | {"liftbench", "liftbench.configs", "liftbench.results"} == set(setuptools["packages"])
    assert all((folder_of(package) / "__init__.py").is_file() for package in setuptools["packages"])


def test_every_data_file_is_installed(setuptools):
    packages = {folder_of(name): name for name in setuptools["packages"] if name != "liftbench.results"}
    data = {
        path for folder in packages for path in folder.rglob("*") if path.is_file() and path.suffix not in NOT_INSTALLED
    }
    installed = {
        path
        for folder, name in packages.items()
        for pattern in setuptools["package-data"].get(name, [])
        for path in folder.glob(pattern)
        if PurePosixPath(pattern).name != "py.typed"
    }
    assert data == installed
    assert {"h36m_cameras.json", "report.html.j2", "report.css", "posemamba_s.yaml"} <= {path.name for path in data}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """Copy the tracked files, so that a build leaves nothing in this tree."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("checkout")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def quick_compiler(tmp_path, monkeypatch):
    """The C++ compiler without its optimisation, which takes a minute."""
    compiler = shutil.which("g++") or shutil.which("c++")
    script = tmp_path / "compiler"
    script.write_text(f'#!/bin/bash\nexec {compiler} "${{@/#-O3/-O0}}"\n')
    script.chmod(0o755)
    for name in ("CC", "CXX"):
        monkeypatch.setenv(name, str(script))


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def environment_with(folder, *install):
    """Return the Python of a new virtual environment that sees this one's other packages and a new liftbench."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin/python"
    (site,) = (folder / "lib").glob("python*/site-packages")
    paths = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "others.pth").write_text("\n".join(dict.fromkeys([*paths, sysconfig.get_paths()["purelib"]])))
    pip("--python", python, "install", "--no-deps", "--no-build-isolation", *install)
    return python, site


def run(python, *arguments, cwd):
    done = subprocess.run([python, *map(str, arguments)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def add_another_project(site):
    """Install another project's package named `kernels`."""
    (site / "kernels").mkdir()
    (site / "kernels/__init__.py").write_text('WHOSE = "another project\'s"\n')
    (site / "kernels-1.0.dist-info").mkdir()
    (site / "kernels-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: kernels\nVersion: 1.0\n")


def runs_a_model(python, home, folder, code=""):
    """Run a model beside another project's `kernels`, with the liftbench in `home`; then run `code`."""
    shape, where = run(python, "-c", RUN_A_MODEL + code, cwd=folder).splitlines()[0].rsplit(maxsplit=1)
    return shape == "(1, 9, 17, 3)" and Path(where).is_relative_to(home)


def test_a_wheel_does_everything_in_an_empty_folder(checkout, quick_compiler, tmp_path, small_reference, monkeypatch):
    """Another package named `kernels` beside it changes nothing."""
    pip("wheel", checkout, "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path)
    (wheel,) = tmp_path.glob("liftbench-*.whl")
    python, site = environment_with(tmp_path / "venv", wheel)
    add_another_project(site)
    work = tmp_path / "empty"
    work.mkdir()
    monkeypatch.setenv("SMALL_REFERENCE", str(small_reference))
    assert runs_a_model(python, tmp_path, work, RUN_COMMANDS)
    assert (work / "results/report.html").is_file() and (work / "runs/toy/mlp/last.safetensors").is_file()


def test_another_package_named_kernels_changes_nothing_in_an_editable_installation(checkout, tmp_path, monkeypatch):
    for compiler in ("CC", "CXX"):  # without its C++ library, to save a compilation
        monkeypatch.setenv(compiler, "false")
    python, site = environment_with(tmp_path / "venv", "--editable", checkout)
    add_another_project(site)
    assert runs_a_model(python, checkout, tmp_path)


@pytest.mark.parametrize("floor", range(len(FLOORS)))
def test_imports_go_downwards(floor):
    """Nor does `bench` know a paper: the registry describes it."""
    forbidden = {room for rooms in FLOORS[floor + 1 :] for room in rooms} | set(
        PAPERS if "bench" in FLOORS[floor] else ()
    )
    for room in FLOORS[floor]:
        for file in (ROOT / room).rglob("*.py"):
            imported = {name.split(".")[1] for name in imports(file) if name.startswith("liftbench.")}
            assert not imported & forbidden, file


def imports(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_importing_liftbench_imports_no_torch():
    code = "import sys, liftbench; print(sorted(liftbench.__all__)); assert 'torch' not in sys.modules"
    assert "create_model" in run(sys.executable, "-c", code, cwd=ROOT)


def test_every_public_name_is_there():
    assert all(callable(liftbench.__getattr__(name)) for name in liftbench.__all__)  # getattr may find it loaded


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("create_model", "name frames=None"),
        ("list_models", ""),
        ("load_weights", "model path"),
        ("Human36M", "path"),
        ("score", "dataset predictions clips"),
        ("selective_scan", "u delta A B C D=None delta_bias=None implementation='auto'"),
    ],
)
def test_the_stable_names_take_what_they_promise(name, arguments):
    found = inspect.signature(getattr(liftbench, name)).parameters.values()
    text = [one.name + ("" if one.default is one.empty else f"={one.default!r}") for one in found]
    assert text[: len(arguments.split())] == arguments.split()
