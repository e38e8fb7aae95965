"""poses.bvh: a skeleton that Blender and other animation programs open; metres, y up.

BVH holds a skeleton of constant bones and rotations. Bones get their median length. Positions tell two of the three
angles of a bone; here it does not twist against its parent. Bones that part from one joint, such as the hips from the
pelvis, turn on their own, so each begins with a joint of length zero (as LHipJoint in the BVH files of CMU), and every
joint comes out where it was, given constant bones.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from liftbench.baselines.skeleton import JOINTS, PARENTS
from liftbench.lift.files.axes import check_known, without_gaps, y_up
from liftbench.lift.lifted import Lifted

_CHILDREN = [[child for child, parent in enumerate(PARENTS) if parent == joint] for joint in range(17)]
_RIGHT, _LEFT, _UP, _DOWN = (-1.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, -1.0, 0.0)
# Direction of each bone in the rest pose, by the joint it ends in: a T pose that faces +z.
_REST = np.array(
    [
        (0.0, 0.0, 0.0), _RIGHT, _DOWN, _DOWN, _LEFT, _DOWN, _DOWN, _UP, _UP, _UP, _UP, _LEFT, _LEFT, _LEFT, _RIGHT,
        _RIGHT, _RIGHT,
    ]
)  # fmt: skip


def write(lifted: Lifted, path: Path) -> None:
    """Write the hierarchy and the motion; BVH knows no gaps, so what is unknown stands still or moves in between.

    Raises InputError where no joint has a place in the world.
    """
    check_known(lifted, "BVH")
    positions = without_gaps(y_up(lifted.poses_world)) / 1000
    bones = positions - positions[:, PARENTS]
    lengths = np.median(np.linalg.norm(bones, axis=-1), axis=0)
    hierarchy, channels = [], [positions[:, 0]]

    @contextlib.contextmanager
    def node(name: str, offset: np.ndarray, before: Rotation, after: Rotation, depth: int) -> Iterator[None]:
        """A joint of the file around those that hang on it; before, after: global rotations in every frame."""
        indent = "\t" * depth
        hierarchy.extend([f"{indent}{'JOINT' if depth else 'ROOT'} {name}", f"{indent}{{"])
        hierarchy.append(f"{indent}\tOFFSET {_numbers(offset)}")
        position = "3" if depth else "6 Xposition Yposition Zposition"
        hierarchy.append(f"{indent}\tCHANNELS {position} Zrotation Xrotation Yrotation")
        channels.append((before.inv() * after).as_euler("ZXY", degrees=True))
        yield
        hierarchy.append(f"{indent}}}")

    def add(joint: int, before: Rotation, depth: int):
        """A joint and all that hangs on it; before: the global rotation of the bone that ends in it."""
        children, indent = _CHILDREN[joint], "\t" * (depth + 1)
        own = _facing(positions) if joint == 0 else _aim(before, children[0], bones) if len(children) == 1 else before
        with node(JOINTS[joint], _REST[joint] * lengths[joint], before, own, depth):
            if not children:
                hierarchy.extend([f"{indent}End Site", f"{indent}{{", f"{indent}\tOFFSET 0 0 0", f"{indent}}}"])
            elif len(children) == 1:
                add(children[0], own, depth + 1)
            else:
                for child in children:
                    turned = _aim(own, child, bones)
                    with node(f"{JOINTS[child]}_base", np.zeros(3), own, turned, depth + 1):
                        add(child, turned, depth + 2)

    add(0, Rotation.identity(len(positions)), 0)
    motion = np.concatenate(channels, axis=1)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write("HIERARCHY\n" + "\n".join(hierarchy) + "\n")
        file.write(f"MOTION\nFrames: {len(motion)}\nFrame Time: {1 / lifted.fps:.8f}\n")
        cells = " ".join(["%.6f"] * motion.shape[1]) + "\n"
        for row in motion.tolist():
            file.write(cells % tuple(row))


def _aim(parent: Rotation, joint: int, bones: np.ndarray) -> Rotation:
    """Global rotations that turn the bone to `joint` to where it points, from `parent` by the shortest way."""
    start = parent.apply(_REST[joint])
    length = np.linalg.norm(bones[:, joint], axis=-1, keepdims=True)
    end = np.where(length > 1e-9, bones[:, joint] / np.maximum(length, 1e-9), start)
    axis = np.cross(start, end)
    sine, cosine = np.linalg.norm(axis, axis=-1, keepdims=True), (start * end).sum(axis=-1, keepdims=True)
    across = np.cross(start, np.eye(3)[np.abs(start).argmin(axis=-1)])  # to turn about where start and end are opposite
    axis = np.where(sine > 1e-9, axis / np.maximum(sine, 1e-9), across / np.linalg.norm(across, axis=-1, keepdims=True))
    return Rotation.from_rotvec(axis * np.arctan2(sine, cosine)) * parent


def _facing(positions: np.ndarray) -> Rotation:
    """Global rotations of the pelvis: its x along the hips, its y as near to the spine as that allows."""
    left = positions[:, 4] - positions[:, 1]
    up = positions[:, 7] - positions[:, 0]
    left = np.where(np.linalg.norm(left, axis=-1, keepdims=True) > 1e-9, left, _LEFT)
    left = left / np.linalg.norm(left, axis=-1, keepdims=True)
    up = up - (up * left).sum(axis=-1, keepdims=True) * left
    other = np.array(_UP) - left[:, 1:2] * left + 1e-9
    up = np.where(np.linalg.norm(up, axis=-1, keepdims=True) > 1e-9, up, other)
    up = up / np.linalg.norm(up, axis=-1, keepdims=True)
    return Rotation.from_matrix(np.stack([left, up, np.cross(left, up)], axis=-1))


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.6f}" for value in values)
