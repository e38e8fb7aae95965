"""How much faster the C++ scan is than the others: interleaved in one process, so that a drifting machine cancels out.

    python -m bench.scan_ratio [--samples 9] [--quick]

One row per case: least and median milliseconds of each contender, and the factor of the least to that of the first.
Contenders of a case take turns; the slow ones get fewer samples.
"""

import argparse
import functools
import statistics
import time

import torch

from kernels import chunked, cpu, grid, reference, scan_orders

SHAPES = {  # batch, groups, channels of a group, length
    "PoseMamba-S": (1, 4, 128, 4131),
    "PoseMamba-B": (1, 4, 256, 4131),
    "PoseMamba-B, 8 clips": (8, 4, 256, 4131),
    "MDTF joints": (243, 1, 128, 17),
    "MDTF frames": (17, 1, 128, 243),
}
STATES = 16
SLOW_SAMPLES = 2


def scan_inputs(batch, groups, channels, length, requires_grad=False):
    """As trained models have them: delta of 0.001 to 1 after softplus, A = -1 .. -16."""
    generator = torch.Generator().manual_seed(0)
    total = groups * channels
    tensors = [
        torch.randn(batch, total, length, generator=generator),
        torch.randn(batch, total, length, generator=generator) - 3,
        -torch.arange(1.0, STATES + 1).repeat(total, 1),
        torch.randn(batch, groups, STATES, length, generator=generator),
        torch.randn(batch, groups, STATES, length, generator=generator),
        torch.ones(total),
        torch.zeros(total),
    ]
    return [tensor.requires_grad_(requires_grad) for tensor in tensors]


def grid_inputs(batch, frames=243, channels=256, rank=8, directions=4):
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(batch, frames, 17, channels, generator=generator),
        torch.randn(directions, rank + 2 * STATES, channels, generator=generator) * channels**-0.5,
        torch.randn(directions, channels, rank, generator=generator) * 0.3,
        torch.randn(directions, channels, generator=generator) - 3,
        -torch.arange(1.0, STATES + 1).repeat(directions * channels, 1),
        torch.ones(directions * channels),
    )


def forward(scan, tensors):
    with torch.inference_mode():
        scan(*tensors)


def forward_backward(scan, tensors):
    torch.autograd.grad(scan(*tensors).sum(), tensors)


def on(instruction_set, call):
    """The same call on another instruction set."""
    cpu.use_instruction_set(instruction_set)
    try:
        call()
    finally:
        cpu.use_instruction_set("auto")


def instruction_sets():
    names = []
    for name in ("avx512", "avx2", "portable"):
        try:
            names += [cpu.use_instruction_set(name)]
        except ValueError:
            pass
    cpu.use_instruction_set("auto")
    return names


def interleave(contenders, samples):
    """{name: (least, median) ms}; contenders: {name: (call, number of samples at most)}."""
    times = {name: [] for name in contenders}
    for call, most in contenders.values():
        if most > SLOW_SAMPLES:
            call()
    for i in range(samples):
        for name, (call, most) in contenders.items():
            if i < most:
                start = time.perf_counter()
                call()
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: (min(values), statistics.median(values)) for name, values in times.items()}


def report(case, times):
    first = next(iter(times.values()))[0]
    cells = [f"{name} {least:.3g} / {median:.3g} ms ({least / first:.3g}x)" for name, (least, median) in times.items()]
    print(f"{case}: " + ", ".join(cells), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="the C++ scan only")
    options = parser.parse_args()
    if reason := cpu.unusable():
        raise SystemExit(reason)
    print(f"{torch.get_num_threads()} threads, {instruction_sets()[0]}, torch {torch.__version__}")

    for case, shape in SHAPES.items():
        tensors = scan_inputs(*shape)
        scans = {"cpu": (cpu, options.samples)}
        if not options.quick and shape[0] * shape[1] * shape[2] * shape[3] < 2**23:  # or else they take minutes
            scans |= {"chunked": (chunked, SLOW_SAMPLES), "reference": (reference, SLOW_SAMPLES)}
        calls = {
            name: (functools.partial(forward, module.selective_scan, tensors), n) for name, (module, n) in scans.items()
        }
        report(f"{case}, forward", interleave(calls, options.samples))

        tensors = scan_inputs(*shape, requires_grad=True)
        calls = {
            name: (functools.partial(forward_backward, module.selective_scan, tensors), n)
            for name, (module, n) in scans.items()
            if name != "reference" or shape[3] < 100  # autograd through a loop of thousands of steps
        }
        report(f"{case}, forward + backward", interleave(calls, options.samples))

    tensors = scan_inputs(*SHAPES["PoseMamba-B"])
    calls = {
        name: (functools.partial(on, name, functools.partial(forward, cpu.selective_scan, tensors)), options.samples)
        for name in instruction_sets()
    }
    report("PoseMamba-B by instruction set, forward", interleave(calls, options.samples))

    orders, limb = scan_orders("posemamba", 243)
    for batch in (1, 8):
        inputs = grid_inputs(batch)
        fused = functools.partial(cpu.grid_scan, orders=orders, limb=limb)
        unfused = functools.partial(grid.grid_scan, cpu.selective_scan, orders=orders, limb=limb, limb_gradient="exact")
        for name, function in (("forward", forward), ("forward + backward", forward_backward)):
            tensors = [tensor.clone().requires_grad_(function is forward_backward) for tensor in inputs]
            calls = {
                "fused": (functools.partial(function, fused, tensors), options.samples),
                "unfused": (functools.partial(function, unfused, tensors), options.samples),
            }
            report(f"grid of PoseMamba-B, {batch} clips, {name}", interleave(calls, options.samples))


if __name__ == "__main__":
    main()
