"""`liftbench lift`."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from liftbench.bench.cli import gait
from liftbench.bench.cli.common import (
    Device,
    Scan,
    choose_device,
    choose_scan,
    loading,
    numbers,
    out,
    progress,
    say_also_fits,
)
from liftbench.bench.cli.detect import Crop, Detector, DetectorWeights, End, Start, Tiles, watch


def lift(
    path: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A video, or keypoints: .json, .csv, .npz, .npy, or OpenPose's folder."),
    ],
    weights: Annotated[
        str, typer.Option(metavar="accurate|fast|RUN|FILE", help="Built-in weights, or those of your own model.")
    ] = "accurate",
    model: Annotated[str | None, typer.Option(help="The model, for weights that do not name it.")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Size of the image in pixels, such as 1920x1080.")
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second. For slow motion, the true rate.")] = None,
    layout: Annotated[str, typer.Option("--format", help="The order of the points; auto recognises it.")] = "auto",
    names: Annotated[Path | None, typer.Option(help="YAML file that names the points of a CSV table.")] = None,
    person: Annotated[str, typer.Option(metavar="largest|all|N", help="Whom to lift; 1 is the largest.")] = "largest",
    joint_9: Annotated[
        str | None, typer.Option("--joint-9", metavar="nose|neck", help="What joint 9 is, for weights that do not say.")
    ] = None,
    height: Annotated[float | None, typer.Option(help="Height of the person in metres; default: 1.70.")] = None,
    focal: Annotated[float | None, typer.Option(help="Focal length in pixels; default: the longer side.")] = None,
    camera_rotation: Annotated[
        str | None,
        typer.Option(
            metavar="PITCH,ROLL|MATRIX",
            help="Degrees, or 9 numbers of R, world to camera; default: from the body.",
        ),
    ] = None,
    refined: Annotated[
        bool, typer.Option("--refine/--no-refine", help="Move poses to agree with keypoints and constant bones.")
    ] = True,
    smooth: Annotated[
        str | None, typer.Option(metavar="HZ|one-euro", help="Zero-phase low-pass with this cutoff, or one-euro[:HZ].")
    ] = None,
    rigid: Annotated[bool, typer.Option("--rigid", help="Give every bone its median length.")] = False,
    to: Annotated[
        list[str],
        typer.Option(
            metavar="NAMES", help="Files besides poses.npz, of html, contact, gif, mp4, csv, json, bvh, trc, c3d, gltf."
        ),
    ] = ("html", "contact"),
    video: Annotated[Path | None, typer.Option(help="The video of the keypoints, for the page and pictures.")] = None,
    embed_video: Annotated[bool, typer.Option("--embed-video", help="Put the video into lift.html.")] = False,
    with_gait: Annotated[bool, typer.Option("--gait", help="Report the gait too, like `liftbench gait`.")] = False,
    detector: Detector = "blazepose",
    detector_weights: DetectorWeights = (),
    start: Start = None,
    end: End = None,
    crop: Crop = None,
    tiles: Tiles = False,
    folder: Annotated[Path | None, typer.Option("--out", help="Default: lifted/ and the name of FILE.")] = None,
    device: Device = "auto",
    scan: Scan = "auto",
):
    """Lift a video, or 2D keypoints of any detector, to 3D poses in millimetres, and to a page that shows them.

    Example: `liftbench lift video.mp4 --height 1.75 --to html,bvh`
    """
    with loading():
        from liftbench import kernels
        from liftbench.baselines.errors import InputError
        from liftbench.baselines.weights.trained import open_weights
        from liftbench.lift.keypoints.people import choose, find_people
        from liftbench.lift.keypoints.read import is_video, read_keypoints
        from liftbench.lift.lifted import FILMS, OF_VIDEO, wanted_formats
        from liftbench.lift.lifting import lift as lift_person
        from liftbench.lift.lifting import recording
        from liftbench.lift.weights import shipped

    size = numbers(size, "x", "--size", "1920x1080") if size else None
    camera_rotation = numbers(camera_rotation, ",", "--camera-rotation", "10,0") if camera_rotation else None
    to = wanted_formats(name for names in to for name in names.split(","))
    if video is not None and not video.is_file():
        raise InputError(f"Cannot read {video}: there is no such file. Check the path.")
    if video is not None and set(to) & set(OF_VIDEO):
        from liftbench.lift.video.frames import open_video

        open_video(video)  # says now what the pictures would say at the end
    if embed_video and not ("html" in to and (video or is_video(path))):
        raise InputError("Cannot embed a video: there is no page or no video. Give --to html and --video FILE.")
    device = choose_device(device)
    implementation = choose_scan(scan, device)
    opened = open_weights(shipped(weights), model)
    if is_video(path):
        if size or names or layout != "auto":
            raise InputError(
                f"Cannot use --size, --format or --names with {path}: a video states these. Leave them out."
            )
        detections = watch(path, detector, detector_weights, start, end, crop, tiles)
        video = video or path
    else:
        if crop or tiles or detector_weights or (start, end, detector) != (None, None, "blazepose"):
            raise InputError(f"Cannot use the options of videos with {path}: it holds keypoints. Leave them out.")
        detections = read_keypoints(path, layout, names)
    video_fps = detections.fps
    detections = recording(detections, size, fps)
    persons = find_people(detections)
    chosen = choose(persons, person)
    out.print(f"keypoints: {detections}, {detections.frames:,} frames, people: {len(persons)}")
    by = f", scan {implementation}" if kernels.scans(opened.model) else ""
    out.print(
        f"lifting with {weights} ({opened.name}, {opened.frames} frames) on {device}{by}, "
        f"{'refined' if refined else 'not refined'}"
    )
    say_also_fits(opened)
    done = []
    for number in chosen:
        begun = time.monotonic()
        with progress() as bar:
            task = bar.add_task(f"person {number + 1}")
            lifted = lift_person(
                detections, weights=opened, person=number + 1, joint_9=joint_9, height=height, focal=focal,
                camera_rotation=camera_rotation, refined=refined, smooth=smooth, rigid=rigid, device=device,
                progress=lambda done, total: bar.update(task, completed=done, total=total),  # noqa: B023
            )  # fmt: skip
        speed = detections.frames / (time.monotonic() - begun)
        out.print(f"person {number + 1}: {lifted.metadata['missing']}; {speed:,.0f} frames a second")
        out.print(f"assumed: {'; '.join(lifted.metadata['assumed'])}")
        if error := lifted.metadata.get("error"):
            out.print(
                f"against the true 3D in the file: MPJPE {error['mpjpe_mm']:.1f} mm, "
                f"N-MPJPE {error['n_mpjpe_mm']:.1f} mm, P-MPJPE {error['p_mpjpe_mm']:.1f} mm"
            )
        about = {"recording": f"{path.stem}, person {number + 1}" if len(persons) > 1 else path.stem}
        about["video_fps"] = video_fps or lifted.fps
        about["video_start_s"] = detections.first_frame / about["video_fps"]
        done.append((number, replace(lifted, video=video, metadata=about | lifted.metadata)))
    folder = folder or Path("lifted") / path.stem
    for number, lifted in done:
        here = folder / f"person_{number + 1}" if len(done) > 1 else folder
        with progress() as bar:
            tasks = {name: bar.add_task(f"drawing {name}", total=None) for name in FILMS if name in to}
            written = lifted.save(
                here,
                to,
                embed_video,
                lambda name, done, of: bar.update(tasks[name], completed=done, total=of),  # noqa: B023
            )
        out.print(f"wrote {', '.join(map(str, written))}")
        if with_gait:
            gait.say(lifted, here)
