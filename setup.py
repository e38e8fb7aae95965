"""Builds the optional C++ library of kernels/cpu; without a working compiler the package installs without it."""

import glob
import platform

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

DIRECTORY = "kernels/cpu/src"
FLAGS = ["-std=c++17", "-O3", "-ffp-contract=off", "-fvisibility=hidden", "-pthread", "-g0"]
# kernels/cpu/src/core.cpp is compiled once for each of these; the library chooses among them when it is loaded.
INSTRUCTION_SETS = {"portable": []}
if platform.machine().lower() in ("x86_64", "amd64"):
    INSTRUCTION_SETS["avx2"] = ["-mavx2", "-mfma"]
    INSTRUCTION_SETS["avx512"] = ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma"]


class BuildForEachInstructionSet(build_ext):
    def build_extension(self, extension: Extension):
        for name, flags in INSTRUCTION_SETS.items():
            extension.extra_objects += self.compiler.compile(
                [f"{DIRECTORY}/core.cpp"],
                output_dir=f"{self.build_temp}/{name}",
                macros=[("KERNELS", name)],
                extra_postargs=FLAGS + flags,
                depends=extension.depends,
            )
        super().build_extension(extension)

    def get_export_symbols(self, extension: Extension) -> list[str]:
        return []  # not a Python module: ctypes loads it


setup(
    ext_modules=[
        Extension(
            "liftbench.kernels.cpu._scan",
            sources=[f"{DIRECTORY}/library.cpp"],
            depends=glob.glob(f"{DIRECTORY}/**/*.h", recursive=True),
            extra_compile_args=FLAGS,
            extra_link_args=["-pthread"],
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildForEachInstructionSet},
)
