"""poses.trc: markers for OpenSim, in millimetres, y up."""

from pathlib import Path

from liftbench.baselines.data.scratch import blocks
from liftbench.lift.files.axes import check_known, y_up
from liftbench.lift.lifted import Lifted


def write(lifted: Lifted, path: Path) -> None:
    """Write a marker at each joint; NaN where unknown. Raises InputError where all of them would be."""
    check_known(lifted, "TRC")
    frames, joints = lifted.valid.shape
    facts = {
        "DataRate": lifted.fps, "CameraRate": lifted.fps, "NumFrames": frames, "NumMarkers": joints, "Units": "mm",
        "OrigDataRate": lifted.fps, "OrigDataStartFrame": 1, "OrigNumFrames": frames,
    }  # fmt: skip
    cells = "\t".join(["%.3f"] * 3 * joints)
    axes = [f"{axis}{joint}" for joint in range(1, joints + 1) for axis in "XYZ"]
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write("PathFileType\t4\t(X/Y/Z)\tposes.trc\n")
        file.write("\t".join(facts) + "\n" + "\t".join(_text(value) for value in facts.values()) + "\n")
        file.write("Frame#\tTime\t" + "\t\t\t".join(lifted.joint_names) + "\t\t\n")
        file.write("\t\t" + "\t".join(axes) + "\n\n")
        for block in blocks(frames):
            markers = y_up(lifted.poses_world[block]).reshape(-1, 3 * joints).tolist()
            for frame, row in enumerate(markers, block.start):
                numbers = (cells % tuple(row)).replace("nan", "NaN")
                file.write(f"{frame + 1}\t{frame / lifted.fps:.6f}\t{numbers}\n")


def _text(value: float | int | str) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
