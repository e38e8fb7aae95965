"""Inputs of scans, and how close each implementation comes to the float64 oracle."""

import torch

# Largest difference over the largest reference value, by implementation and dtype.
# cpu, float32: rounding of 1e-7 per step, carried along by decays near 1, and for gradients sums over thousands of
# steps: 2e-5 for A after 4131 steps of AVX-512's exp, else 5e-6. gpu, float32: the same, and 2 ulp of the GPU's exp2.
# bfloat16: the oracle reads the same rounded inputs, so what remains is the rounding of outputs to 8 bits, and for
# gradients on the GPU that of the gradient of y on top of it.
TOLERANCES = {
    "cpu": {torch.float32: {"y": 2e-6, "gradient": 4e-5}, torch.bfloat16: {"y": 2**-8, "gradient": 2**-8}},
    "gpu": {torch.float32: {"y": 5e-6, "gradient": 2e-5}, torch.bfloat16: {"y": 2**-8, "gradient": 2**-7}},
}


def with_threads(function, counts=(1, 2, 3)):
    """Return the results of function() on each number of threads."""
    before, results = torch.get_num_threads(), []
    try:
        for count in counts:
            torch.set_num_threads(count)
            results.append(function())
    finally:
        torch.set_num_threads(before)
    return results


SHAPES = [  # of scans: batch, groups, channels of a group, length, states
    *((2, 2, channels, length, 16) for channels in (5, 24) for length in (1, 2, 16, 17, 63, 64, 65, 243)),
    *((1, 1, channels, 65, 16) for channels in (1, 16)),
    *((2, 2, 24, 65, states) for states in (1, 2, 3, 8, 17, 33)),
    (1, 1, 128, 243, 16),
    (70, 1, 24, 17, 16),
    (1, 2, 24, 1000, 16),
    (1, 1, 16, 4131, 16),
]


def scan_inputs(batch, groups, channels, length, states, dtype=torch.float32, seed=0, delta=-3, device="cpu"):
    """Random arguments of `selective_scan` by name. channels: of each group; delta: the mean, before softplus."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    total = groups * channels
    tensors = {
        "u": normal(batch, total, length),
        "delta": normal(batch, total, length) + delta,
        "A": -torch.exp(normal(total, states)),
        "B": normal(batch, groups, states, length),
        "C": normal(batch, groups, states, length),
        "D": normal(total),
        "delta_bias": normal(total),
    }
    return {name: tensor.to(device, dtype) for name, tensor in tensors.items()}


def grid_inputs(batch, frames, channels, rank, states=16, directions=4):
    """Random arguments of `grid_scan` by name, without orders and limb."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    return {
        "x": normal(batch, frames, 17, channels),
        "x_proj_weight": normal(directions, rank + 2 * states, channels) * channels**-0.5,
        "dt_weight": normal(directions, channels, rank) * 0.3,
        "dt_bias": normal(directions, channels) - 3,
        "A": -torch.exp(normal(directions * channels, states)),
        "D": normal(directions * channels),
    }


def assert_close(own, expected, tolerance):
    """Compare the output and every gradient by name. tolerance: a row of TOLERANCES."""
    for name, value in expected.items():
        assert own[name].shape == value.shape and own[name].isfinite().all(), name
        # Gradients below 1e-20 are what decays of 2^-124, the least that a kernel knows, leave of larger ones.
        difference = float((own[name].double() - value).abs().max() / value.abs().max().clamp_min(1e-20))
        assert difference <= tolerance["y" if name == "y" else "gradient"], (name, difference)
