"""The selective scan in C++, called through ctypes: channels across SIMD lanes, states in registers, no link to torch.

kernels/README.md explains the design.
"""

from liftbench.kernels.cpu.grid import grid_scan
from liftbench.kernels.cpu.library import unusable, use_instruction_set
from liftbench.kernels.cpu.stream import bidirectional_scan, selective_scan

__all__ = ["bidirectional_scan", "grid_scan", "selective_scan", "unusable", "use_instruction_set"]
