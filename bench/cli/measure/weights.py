"""`liftbench measure online` and `lift`: what trained weights are worth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liftbench.bench.cli.common import (
    RECORDS,
    SYNTHETIC,
    Best,
    DataFile,
    Device,
    Frames,
    Input2D,
    Records,
    Scan,
    WeightsModel,
    choose_device,
    choose_scan,
    loading,
    open_data,
    out,
    progress,
    say_also_fits,
    table,
)
from liftbench.bench.cli.measure.recording import append_measured, saying_what_is_kept

if TYPE_CHECKING:
    from liftbench.bench.records import OnlineRecord


def online(
    names: Annotated[
        list[str], typer.Argument(metavar="RUN|WEIGHTS...", help="Run folders or weights files; also accurate, fast.")
    ],
    data: DataFile = SYNTHETIC,
    model: WeightsModel = None,
    frames: Frames = None,
    input_2d: Input2D = None,
    best: Best = False,
    step: Annotated[int, typer.Option(min=1, metavar="N", help="Score every N-th frame only, to save time.")] = 1,
    fps: Annotated[
        float | None, typer.Option(min=1, help="Frames per second of the data; default: 50 for Human3.6M.")
    ] = None,
    device: Device = "auto",
    scan: Scan = "auto",
    records_folder: Records = RECORDS,
):
    """Measure what real time costs, in mm: frames come one by one, and are answered after 0, 1/4 or 1/2 clip more.

    The errors stand beside the offline ones of the same frames, as `evaluate` finds them, and beside the time that a
    window takes here.

    Example: `liftbench measure online runs/toy/posemamba_toy runs/toy/lstm --data data/synthetic.pkl`

    Example: `liftbench measure online runs/posemamba_s --data h36m_sh_conf_cam_source_final.pkl --step 50`
    """
    with loading():
        from liftbench.baselines.errors import InputError
        from liftbench.baselines.registry import is_file, list_models
        from liftbench.baselines.weights.trained import open_weights
        from liftbench.bench import records
        from liftbench.bench.measure import online as onlines
        from liftbench.lift.weights import shipped

    if untrained := [name for name in names if (name in list_models() or is_file(name)) and not Path(name).exists()]:
        raise InputError(
            f"Cannot measure {untrained[0]} online: it is a model without weights, so it has no error. Give a run "
            f"folder or a weights file, or time it with `liftbench measure speed {untrained[0]}`."
        )
    device = choose_device(device)
    choose_scan(scan, device)
    opened = [open_weights(shipped(name), model, frames, input_2d, best) for name in names]
    for weights in opened:
        say_also_fits(weights)
    datasets = {kind: open_data(data, kind) for kind in dict.fromkeys(one.input for one in opened)}
    path, recorded = records_folder / "online.jsonl", {}
    with saying_what_is_kept(path, recorded), progress() as bar:
        task = bar.add_task("checking results", total=None)

        def say(text: str, done: int, of: int):
            bar.update(task, description=text, completed=done, total=of)

        for name, weights in zip(names, opened):
            record = onlines.measure(weights, datasets[weights.input], device, step, fps, say)
            records.append(path, record)
            recorded[name] = record
    for name, record in recorded.items():
        _print_online(name, record)


def _print_online(name: str, record: "OnlineRecord"):
    """Print the errors by look-ahead, and whether this machine keeps up with the frame rate."""
    rows = table(
        "look-ahead",
        numbers=("delay\nframes", "delay\nms", "MPJPE\nmm", "over\noffline", "P-MPJPE\nmm", "MPJVE\nmm/frame"),
        title=f"{name}: {record.model}, {record.frames} frames; {record.scored_frames:,} test frames scored",
    )
    for ahead, delay, errors in (
        *((one.look_ahead + _repeats(one.repeated_frames), one.look_ahead_frames, one) for one in record.windows),
        ("offline", None, record.offline),
    ):
        velocity = errors.mpjve_mm_per_frame
        rows.add_row(
            ahead, *("-", "-") if delay is None else (str(delay), f"{1000 * delay / record.fps:.0f}"),
            f"{errors.mpjpe_mm:.1f}",
            "-" if delay is None else f"{errors.mpjpe_mm - record.offline.mpjpe_mm:+.1f}",
            f"{errors.p_mpjpe_mm:.1f}", "-" if velocity is None else f"{velocity:.2f}",
        )  # fmt: skip
    out.print(rows)
    for what, time in (("a window", record.time), ("with its mirrored copy, as scored", record.time_with_flip)):
        if time.missing:
            out.print(f"{what}: not timed, {time.missing}. Measure again when the machine is idle.", soft_wrap=True)
            continue
        keeps_up = "keeps up" if record.keeps_up(time) else "does not keep up"
        out.print(
            f"{what}: {time.median_ms:.2f} ms (p20 {time.p20_ms:.2f}, p80 {time.p80_ms:.2f}), "
            f"{1000 / time.median_ms:,.0f} windows/s; {keeps_up} with {record.fps:g} frames/s",
            soft_wrap=True,
        )


def _repeats(frames: int) -> str:
    return f", newest frame repeated {frames} times" if frames else ""


def lift(
    names: Annotated[
        list[str], typer.Argument(metavar="WEIGHTS...", help="accurate, fast, run folders or weights files.")
    ],
    motion: Annotated[Path, typer.Option(metavar="FILE.npz", help="Motion capture, as `liftbench data mocap` reads.")],
    poses: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="Real keypoints of several cameras with their 3D.")
    ] = None,
    views: Annotated[int, typer.Option(min=1, help="Random cameras for each held-out clip.")] = 2,
    refined: Annotated[bool, typer.Option("--refine/--no-refine", help="As for `liftbench lift`.")] = True,
    smooth: Annotated[float | None, typer.Option(metavar="HZ", help="Smooth the walks, as `lift` does.")] = None,
    rigid: Annotated[bool, typer.Option("--rigid", help="Give every bone of the walks its median length.")] = False,
    device: Device = "auto",
    scan: Scan = "auto",
    records_folder: Records = RECORDS,
):
    """Lift people that weights never saw: errors, and what is left of the gait of those who walk.

    Example: `liftbench measure lift accurate fast --motion clips.npz`
    """
    with loading():
        from liftbench.baselines.weights.trained import open_weights
        from liftbench.bench.measure import lift as lifts
        from liftbench.lift.weights import shipped

    device = choose_device(device)
    choose_scan(scan, device)
    opened = [(name, open_weights(shipped(name))) for name in names]
    held_out = table(
        "weights", numbers=("MPJPE\nmm", "P-MPJPE\nmm", "N-MPJPE\nmm", "real\nP-MPJPE\nmm", "frames\na second")
    )
    gaits = []
    shown = ("cadence, steps/min", "step time, ms", "step length, cm", "speed, m/s", "knee flexion curve, degrees",
             "range of knee flexion, degrees")  # fmt: skip
    for name, weights in opened:
        record = append_measured(
            records_folder / "lift.jsonl",
            lambda say: lifts.measure(weights, motion, poses, views, device, refined, smooth, rigid, say),  # noqa: B023
        )
        errors, real = record.held_out, max((one.limb_p_mpjpe_mm for one in record.real), default=None)
        held_out.add_row(
            name, f"{errors.mpjpe_mm:.1f}", f"{errors.p_mpjpe_mm:.1f}", f"{errors.n_mpjpe_mm:.1f}",
            "-" if real is None else f"{real:.1f}", f"{record.lifted_frames_per_s:,.0f}",
        )  # fmt: skip
        gait = table(
            "view",
            numbers=(
                "cadence\n1/min", "step\nms", "step\ncm", "speed\nm/s", "knee\ncurve °", "knee\nrange °", "missed",
            ),
            title=f"mean absolute error of the gait, {name}",
        )  # fmt: skip
        for view in record.gait:
            found = [view.quantities.get(quantity) for quantity in shown]
            cells = ("-" if one is None else f"{one.mean_absolute:.3g}" for one in found)
            gait.add_row(view.view, *cells, f"{view.missed}/{view.events}")
        gaits += [gait] if gait.row_count else []
    out.print(held_out)
    for gait in gaits:
        out.print(gait)
