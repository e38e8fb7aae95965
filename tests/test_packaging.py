from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOT_INSTALLED = {".md", ".cpp", ".h", ".so", ".pyc", ".py"}  # or by other means than package data


@pytest.fixture(scope="module")
def setuptools():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return pytest.importorskip("tomllib").loads(text)["tool"]["setuptools"]


def test_every_package_is_installed(setuptools):
    top = [init.parent for init in ROOT.glob("*/__init__.py")]
    tree = {".".join(file.relative_to(ROOT).parent.parts) for folder in top for file in folder.rglob("*.py")}
    assert tree == set(setuptools["packages"])
    assert {"bench", "bench.cli", "kernels.cpu"} < tree


def test_every_data_file_is_installed(setuptools):
    packages = {ROOT / name.replace(".", "/"): name for name in setuptools["packages"]}
    data = {
        path for folder in packages for path in folder.rglob("*") if path.is_file() and path.suffix not in NOT_INSTALLED
    }
    installed = {
        path
        for folder, name in packages.items()
        for pattern in setuptools["package-data"].get(name, [])
        for path in folder.glob(pattern)
    }
    assert data == installed
    assert {"h36m_cameras.json", "report.html.j2", "report.css", "report.js"} <= {path.name for path in data}
