"""Find, load and call the C++ library, and check what it reads.

setup.py builds it with the package; it holds one kernel per instruction set. The best set of the processor runs, or the
one that the environment variable LIFTBENCH_SCAN_ISA names (avx512, avx2, portable). It runs on torch's own threads,
torch.get_num_threads() of them.

C++ trusts its pointers. Every tensor therefore passes `checked` before its address is taken. Nothing else in this
package checks what the kernels read and write.
"""

import ctypes
import functools
import math
import os
from collections.abc import Callable
from pathlib import Path

import torch

FOLDER = Path(__file__).parent


def structure(name: str, *fields: tuple) -> type[ctypes.Structure]:
    """Declare a structure of src/scan.h; each field is ("names in order", type)."""
    return type(name, (ctypes.Structure,), {"_fields_": [(f, kind) for names, kind in fields for f in names.split()]})


@functools.cache
def load_library() -> ctypes.CDLL | str:
    """Return the loaded library, or the reason why there is none."""
    found = sorted(FOLDER.glob("_scan*.so"))
    if not found:
        return (
            "the C++ library is missing, because the installation found no working C++ compiler. Scans run in PyTorch, "
            "many times slower. Install g++ 12 or newer, or clang, and reinstall liftbench"
        )
    try:
        library = ctypes.CDLL(str(found[0]))
    except OSError as error:
        return f"the C++ library cannot be loaded ({error}); reinstall liftbench"
    library.liftbench_instruction_set.restype = ctypes.c_char_p
    try:  # torch's own OpenMP: a second set of threads would compete with it for the cores
        library.liftbench_use_openmp(ctypes.CDLL(torch._C.__file__).GOMP_parallel)
    except (AttributeError, OSError):
        pass  # the library then starts threads of its own
    wanted = os.environ.get("LIFTBENCH_SCAN_ISA", "auto")
    if library.liftbench_instruction_set(wanted.encode()) is None:
        return f"LIFTBENCH_SCAN_ISA={wanted} names no instruction set of this processor; unset it"
    return library


def unusable(device_type: str = "cpu") -> str | None:
    """Return why the C++ kernels cannot run on a device type, or None if they can."""
    if device_type != "cpu":
        return f"the C++ scan runs on the cpu, not on {device_type}"
    library = load_library()
    return library if isinstance(library, str) else None


def use_instruction_set(name: str) -> str:
    """Choose "avx512", "avx2", "portable" or, with "auto", the best set of the processor; return the chosen name.

    Raises ValueError for a set that the processor lacks, RuntimeError without a library.
    """
    chosen = _usable_library().liftbench_instruction_set(name.encode())
    if chosen is None:
        raise ValueError(f"Cannot use the instruction set {name!r}: this processor lacks it. Use 'auto'.")
    return chosen.decode()


def call(function: str, arguments: ctypes.Structure) -> int:
    """Run liftbench_FUNCTION on torch's threads. Raises RuntimeError without a library."""
    return getattr(_usable_library(), f"liftbench_{function}")(ctypes.byref(arguments), torch.get_num_threads())


def _usable_library() -> ctypes.CDLL:
    library = load_library()
    if isinstance(library, str):
        raise RuntimeError(library)
    return library


def checked(
    expected: dict[str, tuple[torch.Tensor, tuple]],
    dtype: torch.dtype = torch.float32,
    layout: Callable[[torch.Tensor], torch.Tensor] = torch.Tensor.contiguous,
) -> list[torch.Tensor]:
    """Check the tensors of {name: (tensor, shape)} and return them in a layout that the kernels read.

    Raises ValueError for a tensor off the CPU, of another dtype or shape, or without elements. layout(tensor) returns
    the tensor itself if the kernels read its layout, or else a copy.
    """
    for name, (tensor, shape) in expected.items():
        dense = tensor.is_cpu and tensor.dtype == dtype and tensor.layout == torch.strided
        if not dense or tensor.shape != shape or 0 in shape:
            raise _unfit(name, tensor, tuple(shape), dtype)
    return [layout(tensor) for tensor, _ in expected.values()]


def _unfit(name: str, tensor: torch.Tensor, shape: tuple, dtype: torch.dtype) -> ValueError:
    if not tensor.is_cpu:
        return ValueError(f"{name} is on {tensor.device}, but the C++ kernels run on the cpu")
    if tensor.dtype == torch.float64 != dtype:
        return ValueError(f"{name} is float64, but the C++ kernels compute in float32; use 'reference' or 'chunked'")
    if tensor.dtype != dtype or tensor.layout != torch.strided:
        return ValueError(f"{name} must be a dense {dtype} tensor, got {tensor.dtype}, {tensor.layout}")
    return ValueError(f"{name} must have shape {shape} without zeros, got {tuple(tensor.shape)}")


def addresses(*tensors: torch.Tensor) -> list[int]:
    """Return the addresses of contiguous, checked tensors. Keep the tensors alive until the call returns."""
    assert all(tensor.is_contiguous() for tensor in tensors)
    return [tensor.data_ptr() for tensor in tensors]


def single(tensor: torch.Tensor) -> torch.Tensor:
    """Convert to float32; leave float64 as it is, which `checked` refuses."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def evenly_spaced(x: torch.Tensor) -> torch.Tensor:
    """Return x: (..., C) if one stride leads from row to row of channels, as in a slice of channels, or else a copy."""
    strides = [x.stride(-2) * math.prod(x.shape[i:-1]) for i in range(1, x.dim())]
    return x if x.stride() == (*strides, 1) else x.contiguous()


def row_stride(x: torch.Tensor) -> int:
    """Return the distance between two rows of `evenly_spaced`; strides of axes of length 1 mean nothing."""
    return x.shape[-1] if x.is_contiguous() else x.stride(-2)


def dense_like(x: torch.Tensor) -> torch.Tensor:
    """Allocate a contiguous tensor of the shape and dtype of x."""
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def stored_dtype(*tensors: torch.Tensor) -> torch.dtype:
    """Return how the kernels read these tensors: in bfloat16 if all are in it, or else in float32."""
    return torch.bfloat16 if all(tensor.dtype == torch.bfloat16 for tensor in tensors) else torch.float32
