"""Hand-made records of every kind, and a folder of them as a whole run leaves it."""

from datetime import datetime, timedelta, timezone

import numpy as np

from liftbench.bench import records
from liftbench.bench.records import environment, readings

SYNTHETIC = {"kind": "synthetic", "seed": 0}
ACTIONS = (
    "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Photo", "Posing", "Purchases", "Sitting",
    "SittingDown", "Smoking", "Waiting", "WalkDog", "WalkTogether", "Walking",
)  # fmt: skip
MACHINE = environment.describe().model_dump() | {"cpu": "Test CPU", "threads": 2, "gpu": None}
SCALED = ("posemamba_s", "posemamba_toy", "pose3dm_s", "mdtf_tiny", "transformer")
TIME = datetime(2026, 1, 1, tzinfo=timezone.utc)

# model, frames, parameters, contraction and scan MACs, thop's, output frames, MPJPE, latency in ms
MODELS = [
    ("posemamba_s", 243, 1_470_211, 5_172_672_960, 6_133_708_800, (859_651, 3_587_426_496), 243, 61.0, 810.0),
    ("posemamba_b", 243, 4_742_659, 17_790_399_360, 12_267_417_600, (3_357_699, 13_943_083_392), 243, 58.0, 1900.0),
    ("posemamba_l", 243, 9_450_499, 35_578_154_880, 24_534_835_200, (6_713_859, 27_881_407_872), 243, 56.5, 3900.0),
    ("posemamba_toy", 27, 152_131, 55_241_568, 102_228_480, (67_779, 31_682_016), 27, 74.0, 14.0),
    ("lstm", 27, 1_148_467, 30_217_728, 0, (1_148_467, 30_421_504), 1, 118.0, 3.1),
    ("transformer", 27, 1_603_379, 43_840_000, 0, (813_875, 21_647_616), 1, 97.0, 2.4),
    ("transformer_published", 27, 1_603_379, 42_757_376, 0, (813_875, 21_647_616), 1, 131.0, 2.5),
    ("mlp", 27, 993_331, 992_256, 0, (993_331, 992_256), 1, 109.0, 0.22),
]


def of(model, minutes=0, **fields):
    """The fields that all records share."""
    time = TIME + timedelta(minutes=minutes)
    return {"environment": MACHINE, "created_utc": time, "model": model, "frames": 243} | fields


def data(origin=SYNTHETIC, sha="a", input="sh"):
    return {
        "name": "h36m.pkl", "sha256": sha * 64, "origin": origin, "protocol": "h36m", "input": input,
        "test_frames": 8100, "test_clips": 300,
    }  # fmt: skip


def cost(model, parameters=10, contraction=100, scan=0, thop=(10, 100), output_frames=243, **fields):
    fields = of(model, **fields)
    return records.CostRecord(
        **fields, output_frames=output_frames, parameters=parameters, parameters_with_gradient=parameters,
        parameter_names_without_gradient=[], buffer_elements=0, fvcore={"macs": contraction},
        thop={"parameters": thop[0], "macs": thop[1], "uncounted_modules": {}},
        contraction_macs=contraction, contraction_macs_by_operator={"linear": contraction}, scan_macs=scan, scans=[],
        macs_per_clip=contraction + scan, macs_per_output_frame=(contraction + scan) / output_frames,
        macs_by_module={"head": contraction + scan}, uncounted_operator_calls={"sort": 20},
        elementwise_operations=30, elementwise_operations_by_operator={"gelu": 30},
        activation_bytes_kept_for_backward=100 * parameters, activation_bytes_peak_inference=10 * parameters,
    )  # fmt: skip


def timing(batch, ms):
    samples = [ms * factor for factor in (0.9, 1.0, 1.3)]
    p20, median, p80 = np.percentile(samples, [20, 50, 80])
    return {
        "batch": batch, "samples_ms": samples, "p20_ms": p20, "median_ms": median, "p80_ms": p80,
        "peak_memory_mib": None,
    }  # fmt: skip


def speed(model, ms=10.0, output_frames=243, **fields):
    best = timing(8, 6 * ms)
    clips_per_s = 8 / best["median_ms"] * 1e3
    return records.SpeedRecord(
        **of(model, **fields), device="cpu", output_frames=output_frames, latency=timing(1, ms), throughput=best,
        throughput_clips_per_s=clips_per_s, throughput_output_frames_per_s=clips_per_s * output_frames,
        sweep=[timing(1, ms), best], sweep_ended_by="time limit", peak_memory_method="not measured: a test",
        clock="perf_counter", other_processes_share=0.0,
        ceilings={"bandwidth_gb_per_s": 40, "product_gflop_per_s": 130},
    )  # fmt: skip


def lift(model="mlp", p_mpjpe=40.0, **fields):
    error = {"n": 4, "mean_absolute": 2.0, "mean": -1.0}
    return records.LiftRecord(
        **of(model, **fields), device="cpu", refined=True, smooth_hz=None, rigid=False,
        checkpoint={"file": "last.safetensors", "sha256": "c" * 64, "epoch": 3, "chosen_by": "last epoch"},
        motion={"name": "clips.npz", "sha256": "d" * 64, "credit": "A credit.", "subjects": ["02"]},
        held_out={
            "views": 2, "seed": 0, "frames": 1000, "mpjpe_mm": 1.4 * p_mpjpe, "p_mpjpe_mm": p_mpjpe,
            "n_mpjpe_mm": 1.3 * p_mpjpe, "mpjve_mm_per_frame": 6.0,
        },
        gait=[
            {"view": view, "walks": 2, "failed": 0, "events": 20, "missed": 1, "extra": 0,
             "quantities": {"cadence, steps/min": error}}
            for view in ("front", "oblique", "side")
        ],
        lifted_frames_per_s=500.0, timed_frames=1000, other_processes_share=0.1,
    )  # fmt: skip


def online(model="mlp", mpjpe=60.0, repeated=(2, 1, 0), **fields):
    """A quarter of a clip more costs a millimetre less; half a clip reaches the offline error."""

    def errors(cost):
        return {"mpjpe_mm": mpjpe + cost, "p_mpjpe_mm": 0.8 * mpjpe, "mpjve_mm_per_frame": 2.5,
                "mpjpe_mm_without_flip": mpjpe + cost + 3}  # fmt: skip

    def times(ms):
        return {"samples_ms": [[ms], [ms]], "p20_ms": ms, "median_ms": ms, "p80_ms": ms}

    checkpoint = {"file": "last.safetensors", "sha256": "b" * 64, "epoch": 9, "chosen_by": "last epoch"}
    fields = {"checkpoint": checkpoint, "data": data(), "step": 1} | fields
    return records.OnlineRecord(
        **of(model, **fields), device="cpu", fps=50, scored_frames=8100, offline=errors(0), difference=None,
        time=times(12.0), time_with_flip=times(24.0),
        windows=[
            {"look_ahead": name, "look_ahead_frames": 2 * place, "repeated_frames": repeated[place]} | errors(2 - place)
            for place, name in enumerate(("0", "1/4", "1/2"))
        ],
        clock="perf_counter", other_processes_share=0.0,
    )  # fmt: skip


def exported(model="mlp", form="onnx", **fields):
    packages = {"opset": 18, "versions": {"onnxruntime": "1.2"}} if form == "onnx" else {}
    fields = {
        "checkpoint": None, "file_bytes": 12_000_000, "nodes": 60, "blocks": 2, "export_s": 20.0, "difference": 1e-6,
        "own_samples_ms": [[1.0]], "file_samples_ms": [[2.0]], "own_ms": 1.0, "file_ms": 2.0, "ratio": 2.0,
        "ratio_low": 1.9, "ratio_high": 2.1, "other_processes_share": 0.0,
    } | packages | fields  # fmt: skip
    return records.ExportRecord(**of(model, **fields), format=form)


def accuracy(model, mpjpe=60.0, on=None, **fields):
    by_action = {action: mpjpe * (0.8 + 0.03 * i + len(model) % 7 * (i % 3) / 50) for i, action in enumerate(ACTIONS)}
    row = {"mpjpe_mm": mpjpe, "p_mpjpe_mm": 0.8 * mpjpe, "n_mpjpe_mm": 0.95 * mpjpe, "mpjve_mm_per_frame": 2.5}
    row["acceleration_error_mm_per_frame2"] = None
    return records.AccuracyRecord(
        **of(model, **fields), data=on or data(), mpjpe_mm=mpjpe, p_mpjpe_mm=0.8 * mpjpe, mpjpe_mm_per_action=by_action,
        p_mpjpe_mm_per_action=by_action, mpjpe_mm_per_joint={"pelvis": 0.0, "head": mpjpe},
        variants={"official": row, "frame-wise": row, "without flip": row}, mean_pose_mpjpe_mm=260.0,
        checkpoint={"file": "best.safetensors", "sha256": "b" * 64, "epoch": 9, "chosen_by": "lowest test MPJPE"},
    )  # fmt: skip


def training(model, mpjpe=60.0, epochs=12, **fields):
    decay = [2 ** (-epoch / 4) for epoch in range(epochs)]
    return records.TrainingRecord(
        **of(model, **fields), data=data(), recipe={}, epochs=list(range(epochs)),
        loss=[0.05 + mpjpe / 1000 + 0.4 * x for x in decay], test_mpjpe_mm=[mpjpe + 200 * x for x in decay],
        learning_rate=[1e-3] * epochs, epoch_s=[3.0] * epochs, clips_per_s=200.0, processes=1,
    )  # fmt: skip


def scans(quick=False, **fields):
    """Two lengths; the slow contender is timed at the first only, and the public one takes four times as long
    as ours.
    """
    comparisons = []
    for call in ("forward", "forward + backward"):
        for length in (17, 64):
            own, public = ([[factor * length] * 2 for factor in factors] for factors in ((1, 1.1, 1.2), (4, 4.4, 4.8)))
            timings = [
                {"name": name, "public": name == "mambapy", "samples_ms": samples, "peak_memory_mib": length}
                | ({"kept_for_backward_mib": length / 4} if call != "forward" else {})
                | dict(zip(("p20_ms", "median_ms", "p80_ms", "ratio"), (*np.percentile(samples, [20, 50, 80]), ratio)))
                for name, samples, ratio in (("cpu", own, 8.0), ("mambapy", public, 2.0))
            ]
            slow = {"samples_ms": [[8.0 * length]], "p20_ms": 1.0, "median_ms": 8.0 * length, "p80_ms": 1.0, "ratio": 1}
            missing = {"missing": "too slow: a call would take about 9 s, 1 s are allowed"}
            timings.append({"name": "reference"} | (slow if length == 17 else missing))
            comparisons.append(
                {"comparison": "implementations", "case": "PoseMamba-B" if length == 64 else "length 17", "call": call,
                 "batch": 1, "groups": 4, "channels": 128, "length": length, "states": 16, "baseline": "reference",
                 "state_steps": 8192 * length, "compulsory_bytes": 8192 * length, "other_processes_share": 0.0,
                 "timings": timings}
            )  # fmt: skip
    return records.ScanRecord(
        environment=MACHINE, created_utc=fields.get("created_utc", TIME), device="cpu", quick=quick, longest_call_s=20,
        absent={"gpu": "no GPU"}, differences={"cpu": 1e-7}, bandwidth_gb_per_s=40, product_gflop_per_s=130,
        operations_per_state_step=13, peak_memory_method="a test", comparisons=comparisons,
    )  # fmt: skip


def compared(ratio=3.0, **fields):
    """Two settings of one model, the first `ratio` times as slow."""
    first, second = (
        {"model": "posemamba_s", "frames": 243, "scan_implementation": scan, "difference": 1e-7,
         "samples_ms": [[ms], [ms]], "p20_ms": ms, "median_ms": ms, "p80_ms": ms}
        for scan, ms in (("chunked", 10 * ratio), ("cpu", 10.0))
    )  # fmt: skip
    return records.CompareRecord(
        environment=MACHINE, created_utc=fields.get("created_utc", TIME), device="cpu", clock="perf_counter", batch=1,
        first=first, second=second, ratio=ratio, ratio_low=0.9 * ratio, ratio_high=1.1 * ratio, confidence=0.95,
        other_processes_share=0.0,
    )  # fmt: skip


def scaled(quick=False):
    """Mamba models that grow with the length, attention with its square: they meet at 270 frames."""
    points = []
    for axis, places in (("frames", (27, 81, 243, 729)), ("batch", (1, 2, 4)), ("depth", (1, 2, 4))):
        for x in places:
            for name in SCALED:
                place = {"frames": 27, "batch": 1, "depth": 2} | {axis: x}
                cost = 270.0 * x if name != readings.ATTENTION or axis != "frames" else float(x**2)
                times = {"samples_ms": [[cost]], "p20_ms": cost, "median_ms": cost, "p80_ms": cost}
                if name == "posemamba_s" and place["frames"] == 729:
                    times = {"missing": "too slow: a test"}
                points.append({"axis": axis, "model": name, "macs": int(cost * 1e6), **place, **times})
    return records.ScalingRecord(
        environment=MACHINE, created_utc=TIME, device="cpu", clock="perf_counter", quick=quick, longest_call_s=1,
        parameters=dict.fromkeys(SCALED, 10), differences=dict.fromkeys(SCALED, 1e-7), points=points,
    )  # fmt: skip


def write(folder, *written):
    for record in written:
        records.append(folder / "test.jsonl", record)
    return folder


def everything(folder):
    """Write a folder of records as a whole run leaves it, for all of MODELS."""
    for model, frames, parameters, contraction, scan, thop, output_frames, mpjpe, ms in MODELS:
        write(
            folder,
            cost(model, parameters, contraction, scan, thop, output_frames, frames=frames),
            speed(model, ms, output_frames, frames=frames),
            accuracy(model, mpjpe, frames=frames),
            training(model, mpjpe, frames=frames),
        )
    training_step = speed("mlp", 0.5, 1, frames=27).model_copy(update={"call": "training step"})
    return write(folder, scans(), compared(), scaled(), training_step, cost("mlp", frames=81, output_frames=1), lift(),
                 online("posemamba_toy", repeated=(0, 0, 0), frames=27), online("mlp", frames=27),
                 exported())  # fmt: skip
