"""AlphaPose results and COCO results: one JSON list with an entry for each person in each image."""

from pathlib import Path

from liftbench.baselines.errors import InputError
from liftbench.lift.keypoints import layouts
from liftbench.lift.keypoints.detections import Detections, choose_layout, frame_numbers, gather, people

_LAYOUTS = ("coco17", "halpe26", "wholebody133", "halpe136")


def is_alphapose(content: object) -> bool:
    """Whether the content of a JSON file looks like this."""
    return isinstance(content, list) and bool(content) and all(isinstance(entry, dict) for entry in content) and (
        "image_id" in content[0] and "keypoints" in content[0]
    )  # fmt: skip


def read(path: Path, content: list, layout: str) -> Detections:
    """Entries with `image_id`, `keypoints` (x, y, confidence, ...) and, where people were tracked, `idx`.

    Images without a person have no entry, so frames are placed by the number in `image_id`. Raises InputError for
    entries that lack something.
    """
    missing = next((key for key in ("image_id", "keypoints") if any(key not in entry for entry in content)), None)
    if missing:
        raise InputError(f"Cannot read {path}: an entry lacks {missing}. Give a detector's own file.")
    points = people([entry["keypoints"] for entry in content], path)
    layout = choose_layout(path, points.shape[1], layout, _LAYOUTS)
    source = "COCO results" if "category_id" in content[0] and isinstance(content[0]["image_id"], int) else "AlphaPose"
    track = [entry.get("idx") for entry in content]
    track = [idx if isinstance(idx, int) and 0 <= idx < 2**31 else -1 for idx in track]
    numbers = frame_numbers([entry["image_id"] for entry in content])
    return gather(path, source, layout, layouts.LAYOUTS[layout], numbers, points, track)
