"""OpenPose: a folder with a JSON file for each frame."""

from pathlib import Path

from liftbench.baselines.errors import InputError
from liftbench.lift.keypoints import layouts
from liftbench.lift.keypoints.detections import (
    Detections,
    choose_layout,
    frame_numbers,
    gather,
    people,
    read_json,
)

_LAYOUTS = ("coco18", "body25", "body25b")


def read(folder: Path, layout: str) -> Detections:
    """`people[].pose_keypoints_2d` (x, y, confidence, ...) of every JSON file in a folder, in the order of the numbers
    in their names.

    The order of people changes from frame to frame, so it says nothing. 0, 0, 0 is a point that was not seen. Raises
    InputError for files of another program.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise InputError(f"Cannot read {folder}: it holds no JSON files. Give the folder that OpenPose wrote.")
    numbers = frame_numbers([file.name.removesuffix(".json").removesuffix("_keypoints") for file in files])
    if len(set(numbers)) < len(numbers):
        raise InputError(f"Cannot read {folder}: two files have the same frame number. Give one recording's folder.")
    found, frames = [], []
    for file, number in zip(files, numbers):
        content = read_json(file)
        persons = content.get("people") if isinstance(content, dict) else None
        if not isinstance(persons, list) or not all(isinstance(person, dict) for person in persons):
            raise InputError(f"Cannot read {file}: it has no list of people. Give a folder that OpenPose wrote.")
        found += [person.get("pose_keypoints_2d") for person in persons]
        frames += [number] * len(persons)
    points = people(found, folder)
    if len(points):
        layout = choose_layout(folder, points.shape[1], layout, _LAYOUTS)
    names = layouts.LAYOUTS.get(layout, ())
    return gather(folder, "OpenPose", layout, names, frames, points, [-1] * len(points), every=numbers)
