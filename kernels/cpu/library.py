"""The C++ library: found, loaded, checked and called.

It is built with the package (setup.py) and holds one kernel per instruction set. The best one of the processor is
used, or the one that the environment variable LIFTBENCH_SCAN_ISA names (avx512, avx2, portable). Threads are torch's
own, torch.get_num_threads() of them.

C++ trusts its pointers. So every tensor passes `checked` before its address is taken, and nothing else in this package
checks what the kernels read and write.
"""

import ctypes
import functools
import os
from pathlib import Path

import torch

FOLDER = Path(__file__).parent


def structure(name: str, *fields: tuple) -> type[ctypes.Structure]:
    """A structure of src/scan.h; each field is ("names in order", type)."""
    return type(name, (ctypes.Structure,), {"_fields_": [(f, kind) for names, kind in fields for f in names.split()]})


@functools.cache
def load_library() -> ctypes.CDLL | str:
    """The loaded library, or one sentence that says why there is none."""
    found = sorted(FOLDER.glob("_scan*.so"))
    if not found:
        return (
            "the C++ library was not built, because no working C++ compiler was found when liftbench was installed, so "
            "scans run in PyTorch, many times slower; install g++ 12 or newer, or clang, and reinstall"
        )
    try:
        library = ctypes.CDLL(str(found[0]))
    except OSError as error:
        return f"the C++ library cannot be loaded ({error}); reinstall liftbench"
    library.liftbench_instruction_set.restype = ctypes.c_char_p
    try:  # torch's own OpenMP, as a second set of threads would fight with torch's for the cores
        library.liftbench_use_openmp(ctypes.CDLL(torch._C.__file__).GOMP_parallel)
    except (AttributeError, OSError):
        pass  # threads of the standard library then
    wanted = os.environ.get("LIFTBENCH_SCAN_ISA", "auto")
    if library.liftbench_instruction_set(wanted.encode()) is None:
        return f"LIFTBENCH_SCAN_ISA={wanted} names no instruction set of this processor; unset it"
    return library


def unusable(device_type: str = "cpu") -> str | None:
    """Why the C++ kernels cannot run on a device type, as one sentence; None if they can."""
    if device_type != "cpu":
        return f"the C++ scan runs on the cpu, not on {device_type}"
    library = load_library()
    return library if isinstance(library, str) else None


def use_instruction_set(name: str) -> str:
    """Choose "avx512", "avx2", "portable", or the best of the processor with "auto"; returns the name of the choice.

    Raises ValueError for one that the processor does not have, RuntimeError without a library.
    """
    chosen = _usable_library().liftbench_instruction_set(name.encode())
    if chosen is None:
        raise ValueError(f"{name!r} is not an instruction set of this processor")
    return chosen.decode()


def call(function: str, arguments: ctypes.Structure) -> int:
    """Run liftbench_FUNCTION on torch's threads. Raises RuntimeError without a library."""
    return getattr(_usable_library(), f"liftbench_{function}")(ctypes.byref(arguments), torch.get_num_threads())


def _usable_library():
    library = load_library()
    if isinstance(library, str):
        raise RuntimeError(library)
    return library


def checked(
    expected: dict[str, tuple[torch.Tensor, tuple]], dtype: torch.dtype = torch.float32, layout=torch.Tensor.contiguous
) -> list[torch.Tensor]:
    """The tensors of {name: (tensor, shape)}, in a layout that the kernels read.

    Raises ValueError for a tensor that is not on the CPU, or is of another dtype or shape, and for axes without
    elements. layout(tensor) returns the tensor itself if its layout will do, or else a copy.
    """
    for name, (tensor, shape) in expected.items():
        if tensor.device.type != "cpu":
            raise ValueError(f"{name} is on {tensor.device}, but the C++ kernels run on the cpu")
        if tensor.dtype == torch.float64 != dtype:
            raise ValueError(f"{name} is float64, but the C++ kernels compute in float32; use 'reference' or 'chunked'")
        if tensor.dtype != dtype or tensor.layout != torch.strided:
            raise ValueError(f"{name} must be a dense {dtype} tensor, got {tensor.dtype}, {tensor.layout}")
        if tuple(tensor.shape) != tuple(shape) or 0 in shape:
            raise ValueError(f"{name} must have shape {tuple(shape)} without zeros, got {tuple(tensor.shape)}")
    return [layout(tensor) for tensor, _ in expected.values()]


def addresses(*tensors: torch.Tensor) -> list[int]:
    """Of contiguous tensors that are checked or made here; keep the tensors until the call returns."""
    assert all(tensor.is_contiguous() for tensor in tensors)
    return [tensor.data_ptr() for tensor in tensors]


def single(tensor: torch.Tensor) -> torch.Tensor:
    """In float32, except for float64, which `checked` refuses."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
