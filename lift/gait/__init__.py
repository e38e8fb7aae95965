"""Gait from 3D poses: events, times and lengths, joint angles over the stride, and a report of one page.

Not a medical device. The 17 joints have no foot and no axes of the segments: ankle angles, pelvic tilt and rotations of
hip and knee cannot be observed, and feet are known by their ankles, so every length here is ankle-based: the ankles are
13 % closer at heel strike than half a stride (measured on CMU motion capture).
"""

from liftbench.lift.gait.analysis import SIDES, Gait, analyse
from liftbench.lift.gait.angles import body_axes, joint_angles
from liftbench.lift.gait.parameters import NOT_OBSERVABLE, symmetry

__all__ = ["NOT_OBSERVABLE", "SIDES", "Gait", "analyse", "body_axes", "joint_angles", "symmetry"]
