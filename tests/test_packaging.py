from pathlib import PurePosixPath

import pytest

from support import ROOT

NOT_INSTALLED = {".md", ".cpp", ".h", ".so", ".pyc", ".py", ".typed"}  # or by other means than package data
CODE = ("baselines", "bench", "kernels", "lstm_transformer", "mdtf", "pose3dm", "posemamba")


@pytest.fixture(scope="module")
def setuptools():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return pytest.importorskip("tomllib").loads(text)["tool"]["setuptools"]


def folder_of(package, setuptools):
    """The folder of an installed package, as `package-dir` maps it."""
    inside = package.removeprefix("liftbench.").replace(".", "/")
    return ROOT / ("liftbench" if package == "liftbench" else inside)


def test_every_package_is_installed(setuptools):
    tree = {
        ".".join(("liftbench", *file.relative_to(ROOT).parent.parts))
        for top in CODE
        for file in (ROOT / top).rglob("*.py")
    }
    assert tree | {"liftbench", "liftbench.configs", "liftbench.results"} == set(setuptools["packages"])
    assert all((folder_of(package, setuptools) / "__init__.py").is_file() for package in setuptools["packages"])


def test_every_data_file_is_installed(setuptools):
    packages = {folder_of(name, setuptools): name for name in setuptools["packages"] if name != "liftbench.results"}
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
