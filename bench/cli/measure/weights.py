"""`liftbench measure lift`: what trained weights are worth."""

from pathlib import Path
from typing import Annotated

import typer

from liftbench.bench.cli.common import (
    RECORDS,
    Device,
    Records,
    Scan,
    choose_device,
    choose_scan,
    loading,
    out,
    table,
)
from liftbench.bench.cli.measure.recording import append_measured


def lift(
    names: Annotated[
        list[str], typer.Argument(metavar="WEIGHTS...", help="accurate, fast, run folders or weights files.")
    ],
    motion: Annotated[Path, typer.Option(metavar="FILE.npz", help="Motion capture, as `liftbench data mocap` reads.")],
    poses: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="Real keypoints of several cameras with their 3D.")
    ] = None,
    views: Annotated[int, typer.Option(min=1, help="Random cameras for each held-out clip.")] = 2,
    refined: Annotated[bool, typer.Option("--refine/--no-refine", help="As `liftbench lift`.")] = True,
    smooth: Annotated[float | None, typer.Option(metavar="HZ", help="Smooth the walks, as `liftbench lift`.")] = None,
    rigid: Annotated[bool, typer.Option("--rigid", help="Bones of constant length in the walks, likewise.")] = False,
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
