"""Embedded data in the files of VideoPose3D: the people, actions and detector of `baselines.synthetic.motionbert`.

In that format all four cameras see every take. To fit into 60,000 frames each subject performs two actions of 20 s
each. Numbers on this data say nothing about real people.
"""

from pathlib import Path

import numpy as np

from liftbench.baselines.data.cameras import CAMERAS, load_cameras, project_to_2d, world_to_camera
from liftbench.baselines.data.formats.videopose3d import DETECTIONS, VideoPose3D
from liftbench.baselines.data.formats.videopose3d_schema import JOINTS_3D, KEPT_JOINTS
from liftbench.baselines.data.normalization import MM_PER_M
from liftbench.baselines.files import replacing
from liftbench.baselines.skeleton import LEFT, RIGHT
from liftbench.baselines.synthetic import detector, motionbert

NAMES = {
    2: "Directions", 3: "Discussion", 4: "Eating", 5: "Greeting", 6: "Phoning", 7: "Photo", 8: "Posing", 9: "Purchases",
    10: "Sitting", 11: "SittingDown", 12: "Smoking", 13: "Waiting", 14: "Walking", 15: "WalkDog", 16: "WalkTogether",
}  # fmt: skip

# Where the other joints of Human3.6M's 32 go: toes to ankles, hands to wrists, duplicates to their joint.
PLACES = {3: (4, 5), 8: (9, 10), 0: (11,), 13: (16, 24), 19: (20, 21, 22, 23), 27: (28, 29, 30, 31)}
SOURCES = [
    KEPT_JOINTS.index(next((kept for kept, others in PLACES.items() if joint in others), joint))
    for joint in range(JOINTS_3D)
]


def write(folder: str | Path, frames: int = 60_000, seed: int = 0) -> Path:
    """Write data_3d_h36m.npz and both 2D files, whose metadata have a further key "origin" that says what they are.

    frames: about how many train and test hold in all, over all cameras. The content depends on frames and seed only.
    Raises InputError for too few frames or a negative seed, and if the folder cannot be written to.
    """
    motionbert.check_size(frames, seed)
    plan = [take for take in motionbert.takes() if take.action in motionbert.PLAN[take.subject][:2]]
    folder = Path(folder)
    positions, detections, exact = {}, {}, {}
    for take, world in motionbert.motions(plan, round(frames / len(CAMERAS)), seed):
        subject, action = f"S{take.subject}", NAMES[take.action]
        cameras = load_cameras(take.subject)
        points = [world_to_camera(world, camera) for camera in cameras]
        pixels = [project_to_2d(seen, camera) for seen, camera in zip(points, cameras, strict=True)]
        draws = [motionbert.detector_draw(take, number, seed) for number in range(1, len(cameras) + 1)]
        found = [detector.detect(*seen)[0] for seen in zip(pixels, points, draws, strict=True)]
        positions.setdefault(subject, {})[action] = (world[:, SOURCES] / MM_PER_M).astype(np.float32)
        detections.setdefault(subject, {})[action] = [view.astype(np.float32) for view in found]
        exact.setdefault(subject, {})[action] = [view.astype(np.float32) for view in pixels]
    metadata = {"layout_name": "h36m", "num_joints": 17, "keypoints_symmetry": [list(LEFT), list(RIGHT)]}
    metadata |= {"origin": {"kind": "synthetic", "version": motionbert.VERSION, "frames": frames, "seed": seed}}
    for file, members in (
        (DETECTIONS["cpn"], {"positions_2d": detections, "metadata": metadata}),
        (DETECTIONS["gt"], {"positions_2d": exact, "metadata": metadata}),
        (VideoPose3D.MARK, {"positions_3d": positions}),
    ):
        with replacing(folder / file) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **members)
    return folder
