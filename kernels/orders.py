"""Scan orders over the (T, J) grid: a table with one row of cells per direction, and a flag for the limb term of each.

Cell (t, j) has number t * J + j. Frame-major reads frame by frame (joints fastest), joint-major joint by joint (frames
fastest). The ablations keep the PoseMamba paper's names: f/b = forward/backward, s/t = space/time.
"""

import functools

import numpy as np
import torch

from liftbench.kernels.operators import in_transform

# The joints limb by limb: the pelvis, both legs from the pelvis down, both arms from the thorax out. PoseMamba's limb
# term is x + x[LIMB_ORDER] over the joints of a frame. As in its code, it adds joint LIMB_ORDER[j] to joint j, which is
# seldom the parent of j in the skeleton.
LIMB_ORDER = (0, 0, 1, 2, 3, 0, 4, 5, 6, 8, 11, 12, 13, 8, 14, 15, 16)

PATTERNS = ("posemamba", "global", "fs_ft", "fs_bt", "bs_ft", "bs_bt")


def scan_orders(
    pattern: str, frames: int, joints: int = 17, dtype: torch.dtype = torch.int64
) -> tuple[torch.Tensor, tuple[bool, ...]]:
    """Return the tables of a named pattern: (orders (4, L) of a dtype with L = frames * joints, limb: tuple of 4 bool).

    Step t of direction k reads and writes grid cell orders[k, t]; limb[k] is True if it reads x + x[LIMB_ORDER].
    Raises ValueError for an unknown pattern.
    """
    if pattern not in PATTERNS:
        raise ValueError(f"Cannot find a scan pattern named {pattern!r}. Use {', '.join(PATTERNS)}.")
    limb = (pattern == "posemamba", False) * 2
    if torch.compiler.is_compiling():  # tracing bypasses the cache, and torch.export's symbolic sizes cannot be keys
        return _orders.__wrapped__(pattern, frames, joints, dtype), limb
    with torch.inference_mode(False):  # a backward pass cannot use a table made in inference mode
        return _orders(pattern, frames, joints, dtype), limb


@functools.lru_cache(maxsize=64)
def _orders(pattern: str, frames: int, joints: int, dtype: torch.dtype) -> torch.Tensor:
    grid = torch.arange(frames * joints).view(frames, joints)
    if pattern in ("posemamba", "global"):
        pair = torch.stack([grid.flatten(), grid.T.flatten()])
        orders = torch.cat([pair, pair.flip(1)])
    else:  # the ablations repeat a pair that PoseMamba reverses
        space = grid.flip(1) if pattern.startswith("bs") else grid
        time = grid.flip(0) if pattern.endswith("bt") else grid
        orders = torch.stack([space.flatten(), time.T.flatten()]).repeat(2, 1)
    return orders.to(dtype)


def check_orders(orders: torch.Tensor) -> None:
    """Raise ValueError unless every row of (K, L) orders is a permutation of 0 .. L - 1.

    Uses NumPy, so that counters of torch operators see nothing. Tensors without values (tracing, meta) pass.
    """
    if torch.compiler.is_compiling() or type(orders) is not torch.Tensor or orders.is_meta:
        return
    if in_transform():  # NumPy cannot look inside a transform of torch.func
        good = torch.equal(orders.sort(dim=1).values, torch.arange(orders.shape[1]).expand_as(orders).to(orders))
    else:
        good = (np.sort(orders.cpu().numpy(), axis=1) == np.arange(orders.shape[1])).all()
    if not good:
        raise ValueError("orders must be permutations of the grid cells, one per direction")
