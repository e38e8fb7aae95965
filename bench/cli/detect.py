"""`liftbench detect`, and the options of videos that `liftbench lift` shares."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liftbench.bench.cli.common import numbers, out, progress

if TYPE_CHECKING:
    from liftbench.lift.keypoints.detections import Detections

Detector = Annotated[str, typer.Option(metavar="blazepose|rtmpose", help="What finds the keypoints in a video.")]
DetectorWeights = Annotated[
    list[Path],
    typer.Option(metavar="FILE", help="Your own: a landmark .tflite; for rtmpose .onnx files, person detector first."),
]
Start = Annotated[float | None, typer.Option(metavar="S", help="Where to begin in a video, in seconds.")]
End = Annotated[float | None, typer.Option(metavar="S", help="Where to end in a video, in seconds.")]
Crop = Annotated[str | None, typer.Option(metavar="X,Y,W,H", help="The part of a video to look at, in pixels.")]
Tiles = Annotated[bool, typer.Option("--tiles", help="Look for a small person in parts of a video's image; slower.")]


def detect(
    path: Annotated[Path, typer.Argument(metavar="VIDEO", help="Any file that FFmpeg reads, such as an .mp4.")],
    file: Annotated[
        Path | None, typer.Option("--out", help="The .npz file; default: lifted/ and the name of VIDEO.")
    ] = None,
    person: Annotated[str, typer.Option(metavar="largest|N", help="Whom to write; 1 is the largest.")] = "largest",
    detector: Detector = "blazepose",
    detector_weights: DetectorWeights = (),
    start: Start = None,
    end: End = None,
    crop: Crop = None,
    tiles: Tiles = False,
):
    """Find the 2D keypoints of a person in a video, and write them for `liftbench lift`.

    Example: `liftbench detect video.mp4 --out keypoints.npz`
    """
    from liftbench.lift.video.detect import save

    detections = watch(path, detector, detector_weights, start, end, crop, tiles)
    file = file or Path("lifted") / path.stem / "keypoints.npz"
    save(detections, person, file)
    out.print(f"wrote {file}")


def watch(
    path: Path,
    detector: str,
    detector_weights: list[Path] | None,
    start: float | None,
    end: float | None,
    crop: str | None,
    tiles: bool,
) -> "Detections":
    """Return the people in a video, with a progress bar; prints how many frames show somebody, the speed, and a warning
    where the person is small.
    """
    from liftbench.lift.video.detect import SMALL, frames_with_people, share_of_height
    from liftbench.lift.video.detect import detect as find

    crop = crop and [int(number) for number in numbers(crop, ",", "--crop", "600,0,700,1080", count=4)]
    begun = time.monotonic()
    with progress() as bar:
        task = bar.add_task(f"{detector}, frames", total=None)
        detections = find(
            path, detector, detector_weights, start=start, end=end, crop=crop, tiles=tiles,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    speed = detections.frames / (time.monotonic() - begun)
    width, height = detections.size
    out.print(
        f"video: {width} x {height} at {detections.fps:.4g} frames a second; {detector}: {detections.frames:,} frames, "
        f"{detections.frames - frames_with_people(detections):,} without a person; {speed:,.1f} frames a second"
    )
    share = share_of_height(detections, crop[3] if crop else height)
    if share < SMALL and not tiles:
        out.print(
            f"WARNING: the person takes {share:.0%} of the image's height; below a third the keypoints are often wrong "
            "or missing. Give --crop X,Y,W,H around the person, or --tiles.",
            style="bold red",
        )
    return detections
