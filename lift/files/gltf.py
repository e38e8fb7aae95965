"""poses.gltf: a skeleton that game engines, Blender and browsers open; metres, y up, everything in one file.

Every joint is a node below its parent, and moves by an animation of its place relative to that: bones need no rotation,
and may change their length. Nodes have a small octahedron each, so that there is something to see.
"""

import base64
import json
from pathlib import Path

import numpy as np

from liftbench.baselines.skeleton import PARENTS
from liftbench.lift.files.axes import check_known, without_gaps, y_up
from liftbench.lift.lifted import Lifted

_FLOAT, _SHORT = 5126, 5123  # component types
_ARRAY, _INDICES = 34962, 34963  # what a part of the buffer is for
_RADIUS = 0.03  # m
_CORNERS = _RADIUS * np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)], np.float32)
_FACES = np.array([(0, 2, 4), (2, 1, 4), (1, 3, 4), (3, 0, 4), (2, 0, 5), (1, 2, 5), (3, 1, 5), (0, 3, 5)], np.uint16)


def write(lifted: Lifted, path: Path) -> None:
    """Write glTF 2.0; it knows no gaps, so what is unknown stands still or moves in between.

    Raises InputError where no joint has a place in the world.
    """
    check_known(lifted, "glTF")
    places = (without_gaps(y_up(lifted.poses_world)) / 1000).astype(np.float32)
    relative = places.copy()
    relative[:, 1:] -= places[:, PARENTS[1:]]
    buffer = _Buffer()
    corners = buffer.add(_CORNERS, "VEC3", _ARRAY, bounds=True)
    faces = buffer.add(_FACES.ravel(), "SCALAR", _INDICES)
    times = buffer.add((np.arange(len(places)) / lifted.fps).astype(np.float32), "SCALAR", bounds=True)
    moves = [buffer.add(relative[:, joint], "VEC3") for joint in range(len(PARENTS))]
    children = [[child for child, parent in enumerate(PARENTS) if parent == joint] for joint in range(len(PARENTS))]
    nodes = [
        {"name": name, "mesh": 0, "translation": relative[0, joint].tolist()}
        | ({"children": children[joint]} if children[joint] else {})
        for joint, name in enumerate(lifted.joint_names)
    ]
    content = {
        "asset": {"version": "2.0", "generator": "liftbench"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": nodes,
        "meshes": [{"name": "joint", "primitives": [{"attributes": {"POSITION": corners}, "indices": faces}]}],
        "animations": [
            {
                "name": "motion",
                "samplers": [{"input": times, "output": move, "interpolation": "LINEAR"} for move in moves],
                "channels": [
                    {"sampler": joint, "target": {"node": joint, "path": "translation"}} for joint in range(len(moves))
                ],
            }
        ],
    } | buffer.content()
    Path(path).write_text(json.dumps(content), encoding="utf-8")


class _Buffer:
    """The numbers of a file: one buffer, with a view and an accessor for each array."""

    def __init__(self):
        self._bytes, self._views, self._accessors = bytearray(), [], []

    def add(self, values: np.ndarray, kind: str, target: int | None = None, bounds: bool = False) -> int:
        """Append (N,) or (N, 3) numbers of float32 or uint16 -> the number of their accessor."""
        view = {"buffer": 0, "byteOffset": len(self._bytes), "byteLength": values.nbytes}
        accessor = {
            "bufferView": len(self._views),
            "componentType": _SHORT if values.dtype == np.uint16 else _FLOAT,
            "count": len(values),
            "type": kind,
        }
        if target:
            view["target"] = target
        if bounds:
            rows = values.reshape(len(values), -1)
            accessor |= {"min": rows.min(axis=0).tolist(), "max": rows.max(axis=0).tolist()}
        self._bytes += np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()
        self._views.append(view)
        self._accessors.append(accessor)
        return len(self._accessors) - 1

    def content(self) -> dict[str, list]:
        """The parts of the file that hold the numbers."""
        uri = f"data:application/octet-stream;base64,{base64.b64encode(self._bytes).decode()}"
        buffers = [{"uri": uri, "byteLength": len(self._bytes)}]
        return {"accessors": self._accessors, "bufferViews": self._views, "buffers": buffers}
