"""The tests of the C++ kernels under the address and undefined-behaviour sanitizers of GCC. Slow: minutes."""

import os
import platform
import shutil
import subprocess
import sys

import pytest

from support import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None or sys.platform != "linux", reason="needs g++ on Linux"),
]
SOURCES = ROOT / "kernels/cpu/src"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
# As in setup.py, with -O1: the sanitizers make -O3 take minutes.
FLAGS = ["-std=c++17", "-O1", "-ffp-contract=off", "-fvisibility=hidden", "-pthread", "-fPIC", *SANITIZERS]
INSTRUCTION_SETS = {"portable": []}
if platform.machine() in ("x86_64", "AMD64"):
    INSTRUCTION_SETS["avx2"] = ["-mavx2", "-mfma"]
    INSTRUCTION_SETS["avx512"] = ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma"]
# Loaded before the tests, so that this process uses the kernels that were just built.
PLUGIN = """
from pathlib import Path
from liftbench.kernels.cpu import library

library.FOLDER = Path({folder!r})
assert library.unusable() is None, library.unusable()
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Build the library with the sanitizers in a temporary folder; return the environment of a process that uses it."""
    folder = tmp_path_factory.mktemp("sanitized")
    objects = []
    for name, flags in INSTRUCTION_SETS.items():
        objects.append(folder / f"{name}.o")
        _compile(*FLAGS, *flags, f"-DKERNELS={name}", "-c", SOURCES / "core.cpp", "-o", objects[-1])
    _compile(*FLAGS, "-shared", SOURCES / "library.cpp", *objects, "-o", folder / "_scan.so")
    (folder / "sanitized.py").write_text(PLUGIN.format(folder=str(folder)))
    runtimes = [
        subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("libasan.so", "libubsan.so", "libstdc++.so")
    ]
    return os.environ | {
        "LD_PRELOAD": ":".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",  # Python and torch keep memory until the end
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONPATH": str(folder),
    }


def _compile(*arguments):
    subprocess.run(["g++", *map(str, arguments)], check=True)


def run(environment, *arguments):
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_the_sanitizers_see_a_read_outside(environment):
    """A convolution is told about more channels than exist, past every check.

    Those that exist end where a vector ends: one that begins inside and ends outside is an "unknown-crash".
    """
    code = """
import sanitized, torch
from liftbench.kernels.cpu import block
block.checked = lambda expected, **_: [tensor for tensor, _ in expected.values()]
torch.ops.liftbench.conv_silu_cpu(torch.randn(1, 4, 17, 64), torch.randn(16, 1, 3, 3), torch.randn(16))
"""
    found = run(environment, "-c", code)
    assert found.returncode != 0 and "AddressSanitizer: heap-buffer-overflow" in found.stderr, found.stderr[-2000:]


@pytest.mark.parametrize(
    "tests", [f"test_{kind}.py" for kind in ("cpu", "bfloat16", "product", "mlp", "block", "residual", "steps")]
)
def test_kernels_under_the_sanitizers(tests, environment):
    found = run(environment, "-m", "pytest", "-q", "-p", "sanitized", "-p", "no:xdist", f"tests/kernels/{tests}")
    assert found.returncode == 0 and "passed" in found.stdout, (found.stdout + found.stderr)[-5000:]
