"""2D keypoints of any detector to 3D poses in millimetres, in the camera's and in the world's axes.

The package is called as a function: `liftbench.lift(keypoints, size=(1920, 1080), fps=30, weights="runs/mine")`, see
`liftbench.lift.lifting.lift`.
"""

import sys
import types
from collections.abc import Callable


class _Package(types.ModuleType):
    """A module that may be called. Were `liftbench.lift` the function alone, importing this package would hide it."""

    @property
    def __call__(self) -> Callable:
        from liftbench.lift.lifting import lift  # imports PyTorch

        return lift


sys.modules[__name__].__class__ = _Package
