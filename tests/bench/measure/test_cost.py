"""Counts against closed forms, of every registered model and of one block of every kind; other counters; no traces."""

import functools
import random
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from liftbench import create_model, kernels
from liftbench.baselines.errors import InputError
from liftbench.baselines.registry import entry
from liftbench.bench.measure import cost
from liftbench.bench.measure.cost.plain import plain_graph, twin
from liftbench.bench.records import CostRecord
from liftbench.bench.report.results import Missing, Results
from liftbench.bench.report.tables import cost as cost_tables
from liftbench.bench.report.tables import cost_rules as rules
from liftbench.kernels.block import Mlp
from liftbench.mdtf.model import GraphMixer, Mixer
from liftbench.posemamba.model import GridMixer
from support import PUBLISHED, ROOT

JOINTS, STATES, DIRECTIONS, GRAPH_JOINTS = 17, 16, 4, 17


def clip_of(name, frames):
    return torch.zeros(1, frames, JOINTS, entry(name).channels)


def macs(seen):
    """Contraction MACs by operator, and those of all scans under "scan"."""
    scan = sum(calls * kernels.scan_macs(1, *shape) for shape, calls in seen.scans.items())
    return dict(seen.contraction_macs) | ({"scan": scan} if scan else {})


def added(*parts):
    total = {}
    for part in parts:
        for operator, number in part.items():
            total[operator] = total.get(operator, 0) + number
    return total


def times(number, part):
    return {operator: number * macs for operator, macs in part.items()}


# One cell of one block, by hand.


def linear(*sizes):
    return {"linear": sum(a * b for a, b in zip(sizes, sizes[1:]))}


def scan(channels):
    return {"scan": 9 * channels * STATES + channels}


def grid_block(c):
    """PoseMamba's: mixer of inner width 2c over four directions, then the MLP."""
    inner, rank = 2 * c, -(-c // 16)
    expanded = rank if rank > 1 else 0  # PyTorch's einsum over a dimension of one is a product of elements
    projected = DIRECTIONS * inner * ((rank + 2 * STATES) + expanded)
    return added(
        linear(c, 2 * inner), {"convolution": 9 * inner, "einsum": projected}, scan(DIRECTIONS * inner),
        linear(inner, c), linear(c, 2 * c, c),
    )  # fmt: skip


def pose_block(before, c):
    return added(linear(before, c), times(2, grid_block(c)))


def mixer(c):
    """MDTF's, over a sequence and its reversal."""
    rank = -(-c // 16)
    stream = added({"convolution": 4 * c}, linear(c, rank + 2 * STATES), linear(rank, c), scan(c))
    return added(linear(c, 2 * c), times(2, stream), linear(c, c))


def graph_convolution(c):
    return added({"graph convolution": GRAPH_JOINTS * c}, times(2, linear(c, c)))


def block(c):
    return added(mixer(c), linear(c, 2 * c, c))


def posemamba(frames, c, depth):
    return times(frames * JOINTS, added(linear(2, c), times(2 * depth, grid_block(c)), linear(c, 3)))


def pose3dm(frames, d, bottleneck, blocks):
    def stage(before, c):
        return added(pose_block(before, c), times(blocks - 1, pose_block(c, c)))

    resampling = {"convolution": d * 2 * d + 2 * d * 4 * d + 4 * d * 2 * d + 2 * d * d}  # down twice, up twice
    return times(
        frames * JOINTS,
        added(
            {"convolution": 9 * 2 * d}, resampling, linear(d, 3),
            stage(d, d), stage(2 * d, 2 * d), stage(4 * d, bottleneck),
            stage(bottleneck, 4 * d), stage(2 * d, 2 * d), stage(d, d),
        ),
    )  # fmt: skip


def mdtf(frames, c, depth):
    widths = (64, 32, 16, 8, 6)
    first = added(linear(3, 64), *(added(times(2, block(w)), linear(w, n)) for w, n in zip(widths, widths[1:])))
    second = added(
        times(2, linear(3, c)), times(2 * depth + 2, block(c)), times(2 * depth, graph_convolution(c)),
        linear(2 * c, 2), linear(c, 3),
    )  # fmt: skip
    return times(frames * JOINTS, added(first, second))


def transformer(frames, keys):
    per_frame = added(linear(34, 256), times(3, added(linear(256, 3 * 256), linear(256, 256), linear(256, 512, 256))))
    attention = {"attention": 3 * 2 * frames * keys * 256}
    return added(times(frames, per_frame), attention, linear(256, 51))


CLOSED_FORMS = {
    "posemamba_s": lambda t: posemamba(t, 64, 10),
    "posemamba_b": lambda t: posemamba(t, 128, 10),
    "posemamba_l": lambda t: posemamba(t, 128, 20),
    "posemamba_x": lambda t: posemamba(t, 256, 20),
    **{f"posemamba_s_{order}": lambda t: posemamba(t, 64, 10) for order in ("global", "fs_ft", "fs_bt", "bs_ft")},
    "posemamba_s_bs_bt": lambda t: posemamba(t, 64, 10),
    "posemamba_toy": lambda t: posemamba(t, 32, 2),
    "pose3dm_s": lambda t: pose3dm(t, 16, 128, 1),
    "pose3dm_b": lambda t: pose3dm(t, 32, 256, 1),
    "pose3dm_l": lambda t: pose3dm(t, 64, 256, 2),
    "mdtf_tiny": lambda t: mdtf(t, 64, 8),
    "mdtf_large": lambda t: mdtf(t, 128, 12),
    "lstm": lambda t: {"LSTM": t * 4 * (34 + 512) * 512, "linear": 512 * 51},
    "transformer": lambda t: transformer(t, t),
    "transformer_published": lambda t: transformer(t, 1),  # across clips: a frame meets only itself in a batch of one
    "mlp": lambda t: linear(t * 34, 1024, 51),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_counts_of_every_model_are_its_closed_form(name):
    """tests/models/test_comparators.py has the costs of the comparators."""
    frames = entry(name).frames
    model, clip = create_model(name), clip_of(name, frames)
    seen = cost.count(model, clip)
    expected = CLOSED_FORMS[name](frames)
    assert macs(seen) == expected
    assert seen.macs_by_module.total() == sum(expected.values())
    assert seen.output.shape == (1, frames if entry(name).output == "sequence" else 1, JOINTS, 3)


@pytest.mark.parametrize("name", ["posemamba_toy", "pose3dm_s", "mdtf_tiny", "lstm", "transformer", "mlp"])
def test_flop_counter_mode_agrees_on_the_contractions(name):
    """It counts two operations per MAC. For scans it uses the formulas of our operators, which do not run here."""
    small = {"depth": 2} if name == "mdtf_tiny" else {}
    model, clip = create_model(name, frames=9, **small), clip_of(name, 9)
    with plain_graph(), torch.no_grad(), FlopCounterMode(display=False) as flops:
        twin(model, "meta")(clip.to("meta"))
    assert flops.get_total_flops() == 2 * cost.count(model, clip).contraction_macs.total()


@pytest.mark.parametrize(
    "name, parameters, thop, contraction_macs",
    [
        ("posemamba_s", 1_470_211, (859_651, 3_587_426_496), 5_172_672_960),
        ("posemamba_b", 4_742_659, (3_357_699, 13_943_083_392), 17_790_399_360),
        ("posemamba_l", 9_450_499, (6_713_859, 27_881_407_872), 35_578_154_880),
    ],
)
def test_posemamba_costs_what_was_published(name, parameters, thop, contraction_macs):
    model, clip = create_model(name), clip_of(name, 243)
    by_thop = cost.count_by_thop(model, clip)
    numbers = entry(name).numbers
    assert sum(value.numel() for value in model.parameters()) == parameters
    assert (by_thop.parameters, by_thop.macs) == thop
    assert by_thop.macs == thop_macs(243, numbers["embed_dim"], numbers["depth"])
    assert by_thop.uncounted_modules == {"GridMixer": 2 * numbers["depth"], "PoseMamba": 1}
    expected = CLOSED_FORMS[name](243)
    assert sum(expected.values()) - expected["scan"] == contraction_macs


def thop_macs(frames, c, depth):
    """thop counts linear and convolution, and 4 per element of every LayerNorm; no einsum and no scan."""
    seen, cells, inner = posemamba(frames, c, depth), frames * JOINTS, 2 * c
    norms = 2 * depth * (c + c + inner + c) + c  # norm, norm2, out_norm, shared; head
    return seen["convolution"] + seen["linear"] + 4 * cells * norms


def test_the_unpublished_x_costs_what_thop_prints_of_the_official_code():
    thop = cost.count_by_thop(create_model("posemamba_x"), clip_of("posemamba_x", 243))
    assert (thop.parameters, thop.macs) == (26_534_915, 109_908_658_944)
    assert thop.macs == thop_macs(243, 256, 20)


# One block of every kind: n cells, by hand.


def test_a_grid_mixer_by_hand():
    c, n = 32, 3 * JOINTS
    inner, rank = 64, 2
    seen = cost.count(GridMixer(c, "posemamba", "exact"), torch.zeros(1, 3, JOINTS, c))
    assert seen.contraction_macs == {
        "linear": n * (32 * 128 + 64 * 32),
        "convolution": n * 64 * 9,
        "einsum": n * 4 * 64 * (2 + 16 + 16) + n * 4 * 64 * 2,
    }
    assert seen.scans == {(4 * 64, n, 16, True): 1}
    assert seen.macs_by_module == {
        "in_proj": n * 32 * 128,
        "conv2d": n * 64 * 9,
        "": n * 4 * 64 * (2 * rank + 2 * 16) + 9 * 4 * 64 * n * 16 + 4 * 64 * n,
        "out_proj": n * 64 * 32,
    }
    assert seen.elementwise == {
        "silu": 2 * n * inner,  # of the convolution and of the gate
        "add": 5 * n * inner,  # the limb term, and four directions into a sum that starts at zero
        "exp": 4 * inner * 16,
        "neg": 4 * inner * 16,
        "native_layer_norm": 7 * n * inner,
        "mul": n * inner,
    }
    assert seen.uncounted == {"sort": 1}  # of the table that puts the cells back


def test_a_graph_mixer_by_hand():
    c, frames = 32, 5
    n = frames * JOINTS
    seen = cost.count(GraphMixer(c), torch.zeros(frames, JOINTS, c))
    assert seen.contraction_macs == {
        "linear": n * (32 * 64 + 2 * (32 * (2 + 32) + 2 * 32) + 32 * 32) + 2 * 2 * n * 32 * 32,
        "convolution": 2 * n * 32 * 4,
        "graph convolution": 2 * n * 17 * 32,
    }
    assert seen.scans == {(32, 17, 16, True): 2 * frames}
    assert seen.elementwise == {
        "native_layer_norm": 2 * 7 * n * c,
        "native_batch_norm": 2 * 2 * n * c,
        "relu": 2 * n * c,
        "silu": 3 * n * c,  # of both convolutions and of the gate
        "add": 2 * 2 * n * c + n * c,  # A V + U and the residual, of both streams; the streams
        "mul": n * c,
        "div": n * c,
        "exp": 2 * c * 16,
        "neg": 2 * c * 16,
    }
    assert seen.uncounted == {}
    plain = cost.count(Mixer(c), torch.zeros(frames, JOINTS, c))
    assert plain.contraction_macs["linear"] == seen.contraction_macs["linear"] - 2 * 2 * n * 32 * 32
    assert "graph convolution" not in plain.contraction_macs


def test_an_attention_layer_by_hand():
    layer = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16, batch_first=True)
    seen = cost.count(layer, torch.zeros(1, 5, 8))
    assert seen.contraction_macs == {"linear": 5 * (8 * 24 + 8 * 8 + 8 * 16 + 16 * 8), "attention": 2 * 5 * 5 * 8}
    assert seen.elementwise == {
        "mul": 2 * 5 * 8,  # the scale, half of it on the queries and half on the keys
        "safe_softmax": 5 * 2 * 5 * 5,
        "add": 2 * 5 * 8,
        "relu": 5 * 16,
        "native_layer_norm": 2 * 7 * 5 * 8,
    }
    assert seen.macs_by_module == {
        "self_attn": 5 * (8 * 24 + 8 * 8) + 2 * 5 * 5 * 8, "linear1": 5 * 8 * 16, "linear2": 5 * 16 * 8,
    }  # fmt: skip


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_an_lstm_by_hand(device):
    seen = cost.count(nn.LSTM(4, 3, batch_first=True), torch.zeros(1, 5, 4), device)
    assert seen.contraction_macs == {"LSTM": 5 * 4 * (4 + 3) * 3}
    assert seen.elementwise == {
        "add": 5 * (4 * 3 + 3), "sigmoid": 5 * 3 * 3, "tanh": 5 * 2 * 3, "mul": 5 * 3 * 3,
    }  # fmt: skip


def test_an_mlp_by_hand():
    seen = cost.count(Mlp(8), torch.zeros(1, 3, JOINTS, 8))
    assert seen.contraction_macs == {"linear": 3 * 17 * (8 * 16 + 16 * 8)}
    assert seen.elementwise == {"gelu": 3 * 17 * 16}


def test_norms_and_reductions_by_hand():
    class Norms(nn.Module):
        def __init__(self):
            super().__init__()
            self.norms = nn.Sequential(
                nn.LayerNorm(6), nn.LayerNorm(6, elementwise_affine=False), nn.GroupNorm(1, 4), nn.BatchNorm1d(4),
                nn.InstanceNorm1d(4),
            )  # fmt: skip

        def forward(self, x):
            return self.norms(x).softmax(-1).mean(-1, keepdim=True)

    seen = cost.count(Norms(), torch.zeros(1, 4, 6))
    assert seen.elementwise == {
        "native_layer_norm": 24 * (7 + 5), "native_group_norm": 24 * 7, "native_batch_norm": 24 * (2 + 5),
        "softmax": 24 * 5, "mean": 24,
    }  # fmt: skip
    assert seen.uncounted == {}


def test_memory_kept_for_the_backward_pass_by_hand():
    model = create_model("mlp", frames=27)
    assert cost.kept_bytes(model, clip_of("mlp", 27)) == 4 * (27 * 34 + 1024)  # the clip; what relu answers, once
    c, n = 8, 5 * 17
    kept = cost.kept_bytes(Mlp(c), torch.zeros(1, 5, 17, c))
    assert kept == 4 * n * (c + 2 * c + 2 * c)  # inputs of fc1, gelu and fc2


def test_a_scan_keeps_its_inputs():
    class Scan(nn.Module):
        def __init__(self):
            super().__init__()
            self.A = nn.Parameter(-torch.ones(6, 4))

        def forward(self, x):
            u = x + self.A.sum()
            return kernels.selective_scan(u, u * 2, self.A, u[:, :4][:, None] * 3, u[:, None, :4] * 4)

    assert cost.kept_bytes(Scan(), torch.zeros(1, 6, 9)) == 4 * 9 * (6 + 6 + 4 + 4)  # u, delta, B, C; no parameter


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_the_peak_of_inference_by_hand(device):
    n, clip = 5 * 17, torch.zeros(1, 5, 17, 2)

    def peak(*layers):
        return cost.peak_bytes(nn.Sequential(*layers), clip, device)

    assert peak(nn.Linear(2, 8), nn.Linear(8, 3)) == 4 * n * (2 + 8 + 3)  # clip, hidden layer, answer
    assert peak(nn.Linear(2, 8), nn.Linear(8, 9), nn.Linear(9, 3)) == 4 * n * (
        2 + 8 + 9
    )  # the first is gone at the end
    assert peak(nn.Linear(2, 8), nn.ReLU(inplace=True), nn.Flatten()) == 4 * n * (2 + 8)  # a storage counts once
    assert peak(nn.Flatten()) == 4 * n * 2  # the clip alone


def test_repeated_layers_have_the_same_peak_on_both_devices():
    """Operators that repeat on the meta device are not run again: a reshaped answer must stay a part of its input."""
    layer = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16, batch_first=True)
    model, clip = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False), torch.zeros(1, 5, 8)
    assert cost.peak_bytes(model, clip) == cost.peak_bytes(model, clip, "cpu")


def test_a_scan_adds_its_output_to_the_peak():
    class Scan(nn.Module):
        def forward(self, u):
            A = torch.ones(6, 4)
            return kernels.selective_scan(u, u, A, u[:, :4][:, None], u[:, None, :4])

    assert cost.peak_bytes(Scan(), torch.zeros(1, 6, 9), "cpu") == 4 * (9 * 6 + 6 * 4 + 9 * 6)  # clip, A, output


# Records


def test_a_record_of_a_mamba_model_is_whole():
    record = cost.measure("posemamba_toy")
    expected = posemamba(27, 32, 2)
    assert record.parameters == record.parameters_with_gradient == 102_019
    assert record.scan_macs == expected.pop("scan")
    assert record.contraction_macs_by_operator == expected
    assert record.macs_per_clip == record.contraction_macs + record.scan_macs == sum(record.macs_by_module.values())
    assert record.macs_per_output_frame == record.macs_per_clip / 27
    (scans,) = record.scans
    assert (scans.channels, scans.length, scans.states, scans.calls) == (4 * 64, 27 * 17, 16, 4)
    assert list(record.macs_by_module)[:3] == [
        "Spatial_patch_to_embedding", "STEblocks.*.op.in_proj", "STEblocks.*.op.conv2d",
    ]  # fmt: skip
    assert record.elementwise_operations == sum(record.elementwise_operations_by_operator.values())
    assert record.uncounted_operator_calls == {"sort": 4}
    assert record.activation_bytes_kept_for_backward == cost.kept_bytes(
        create_model("posemamba_toy"), clip_of("posemamba_toy", 27)
    )
    peak = cost.peak_bytes(create_model("posemamba_toy"), clip_of("posemamba_toy", 27))
    assert record.activation_bytes_peak_inference == peak > 4 * 27 * 17 * 4 * 64  # more than all directions of one scan
    (row,) = cost_tables.cost(Results([record], PUBLISHED)).rows
    assert row["peak of inference, MiB"] == peak / 2**20


def test_what_fvcore_counts():
    record = cost.measure("posemamba_toy")
    norms = 27 * 17 * (4 * (32 + 32 + 64 + 32) + 32)
    einsum = record.contraction_macs_by_operator["einsum"]
    assert record.fvcore.macs_by_operator == {
        "conv": record.contraction_macs_by_operator["convolution"],
        "linear": record.contraction_macs_by_operator["linear"],
        "layer_norm": 5 * norms,
        "einsum": pytest.approx(einsum, rel=1e-3),
    }
    assert record.fvcore.macs_by_operator["einsum"] != einsum, "it rounds to four digits"
    assert record.fvcore.uncounted_operator_calls["SelectiveScan"] == 4
    assert cost.count_by_fvcore(create_model("lstm", frames=3), clip_of("lstm", 3)).uncounted_operator_calls == {
        "lstm": 1
    }


def test_fvcore_counts_one_matrix_of_a_batch():
    seen = cost.count_by_fvcore(GraphMixer(16), torch.zeros(5, 17, 16))
    assert seen.macs_by_operator["matmul"] == 2 * 17 * 17 * 16  # not 5 times as much


def test_what_thop_leaves_out_is_named():
    layers = cost.count_by_thop(create_model("transformer"), clip_of("transformer", 81))
    assert layers.uncounted_modules == {"MultiheadAttention": 3, "NonDynamicallyQuantizableLinear": 3}
    mixers = cost.count_by_thop(Mixer(16), torch.zeros(5, 17, 16))  # its layers are never called
    assert mixers.uncounted_modules == {"Conv1d": 2, "Linear": 6, "Mixer": 1}
    assert (mixers.parameters, mixers.macs) == (0, 0)


def test_a_centre_frame_model_costs_a_clip_for_every_frame_of_a_video():
    record = cost.measure("lstm")
    assert record.output_frames == 1
    assert record.macs_per_output_frame == record.macs_per_clip == 81 * 4 * (34 + 512) * 512 + 512 * 51
    sliding = "MACs per sliding-window frame, M"
    published = PUBLISHED
    toy = cost.measure("posemamba_toy", frames=3)
    centre, sequence = cost_tables.cost(Results([record, toy], published)).rows[::-1]
    assert centre[sliding] == centre["MACs per output frame, M"] == centre["MACs, M"] == record.macs_per_clip / 1e6
    assert isinstance(sequence[sliding], Missing)
    assert sequence["MACs per output frame, M"] == pytest.approx(sequence["MACs, M"] / 3)


def test_the_transformer_costs_its_projections_and_its_attention():
    record = cost.measure("transformer_published")
    assert record.contraction_macs_by_operator == transformer(81, keys=1)
    assert record.buffer_elements == 81 * 256
    assert cost.measure("transformer").contraction_macs_by_operator == transformer(81, keys=81)


def test_the_variants_numbers_and_the_frames_are_those_asked_for():
    record = cost.measure("posemamba_s", frames=9, depth=2)
    assert (record.frames, record.numbers, record.output_frames) == (9, {"depth": 2}, 9)
    assert record.contraction_macs_by_operator | {"scan": record.scan_macs} == posemamba(9, 64, 2)


@functools.cache
def toy_counts(implementation):
    model, clip = create_model("posemamba_toy", frames=3), clip_of("posemamba_toy", 3)
    with kernels.using(implementation):
        return (
            cost.count(model, clip),
            cost.count_by_fvcore(model, clip),
            cost.kept_bytes(model, clip),
            cost.peak_bytes(model, clip),
        )


@pytest.mark.parametrize("implementation", kernels.IMPLEMENTATIONS)
def test_the_count_does_not_depend_on_the_scan_implementation(implementation):
    (one, *others), (other, *expected) = toy_counts(implementation), toy_counts("auto")
    assert others == expected
    for what in ("contraction_macs", "scans", "macs_by_module", "elementwise", "uncounted"):
        assert getattr(one, what) == getattr(other, what) and (what == "uncounted" or getattr(one, what)), what


class Toy(nn.Module):
    """Contractions, and operators that have no formula."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 5)
        self.unused = nn.Linear(2, 3)

    def forward(self, x):
        x = torch.fft.rfft(self.linear(x), dim=1).real
        return torch.cumsum(x, dim=1) @ x.transpose(1, 2)


def test_operators_without_a_formula_are_listed():
    seen = cost.count(Toy(), torch.zeros(1, 8, 6))
    assert seen.contraction_macs == {"linear": 8 * 6 * 5, "matrix product": 5 * 5 * 5}
    assert seen.uncounted == {"fft_r2c": 1, "cumsum": 1}


def test_parameters_that_receive_no_gradient_are_named():
    assert cost.without_gradient(Toy(), torch.zeros(1, 8, 6)) == ["unused.weight", "unused.bias"]


class Careless(nn.Module):
    """A model that changes whatever it can when it runs, and has hooks of its own."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5), nn.BatchNorm2d(5))
        self.register_buffer("calls", torch.zeros(1))
        self.mixer = GridMixer(3, "posemamba", "exact")
        self.body.register_forward_hook(lambda module, inputs, output: output * 2)
        self.body[0].weight.grad = torch.ones(3, 2)
        self.seen = []

    def forward(self, x):
        self.calls += 1
        self.last = x
        self.seen.append(tuple(x.shape))
        return self.mixer(self.body(x))


def state(model):
    """Collect everything that counting could leave behind, in the model and around it."""
    modules = {}
    for name, module in model.named_modules():
        held = {
            key: list(value) if isinstance(value, (dict, list)) else id(value) for key, value in vars(module).items()
        }
        modules[name] = (id(module), held)
    values = {key: (value.clone(), id(value)) for key, value in model.state_dict(keep_vars=True).items()}
    gradients = {name: None if value.grad is None else value.grad.clone() for name, value in model.named_parameters()}
    around = (
        torch.get_rng_state(), random.getstate(), torch.backends.mha.get_fastpath_enabled(),
        torch.backends.mkldnn.enabled, torch.is_grad_enabled(), torch.get_num_threads(), kernels.current(),
        id(kernels.chunked.selective_scan), torch.backends.cuda.flash_sdp_enabled(),
    )  # fmt: skip
    return modules, values, gradients, around


@pytest.mark.parametrize(
    "count",
    [cost.count, cost.count_by_thop, cost.count_by_fvcore, cost.kept_bytes, cost.peak_bytes, cost.without_gradient],
)
@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_no_trace(count, training):
    model = Careless().train(training)
    modules, values, gradients, around = state(model)
    count(model, torch.zeros(1, 5, JOINTS, 2))
    later_modules, later_values, later_gradients, later_around = state(model)
    assert later_modules == modules
    assert all(
        one is other is None or torch.equal(one, other)
        for one, other in zip(gradients.values(), later_gradients.values(), strict=True)
    )
    for key, (value, identity) in values.items():
        assert later_values[key][1] == identity and torch.equal(later_values[key][0], value), key
    assert torch.equal(later_around[0], around[0])
    assert later_around[1:] == around[1:]


def test_the_official_layout_of_pose3dm_is_mostly_unused():
    small, clip = {"frames": 3, "embed_dim": 8, "bottleneck": 32}, clip_of("pose3dm_s", 3)
    built, lean = (create_model("pose3dm_s", **small, **more) for more in (entry("pose3dm_s").official, {}))
    unused = cost.without_gradient(built, clip)
    parameters = {key: value.numel() for key, value in built.named_parameters()}
    used = sum(number for key, number in parameters.items() if key not in unused)
    assert used == sum(value.numel() for value in lean.parameters()) < sum(parameters.values()) / 4
    assert cost.count(built, clip).macs_by_module.total() == cost.count(lean, clip).macs_by_module.total()
    by_thop, lean_by_thop = cost.count_by_thop(built, clip), cost.count_by_thop(lean, clip)
    assert (by_thop.parameters, by_thop.macs) == (lean_by_thop.parameters, lean_by_thop.macs)
    assert by_thop.uncounted_modules["GridMixer"] == 5 * lean_by_thop.uncounted_modules["GridMixer"]
    assert entry("posemamba_s").official == {}


def test_both_stages_of_mdtf_are_trained():
    """Each stage by itself: in the whole model the first answers with a class, through which no gradient passes."""
    record = cost.measure("mdtf_tiny", frames=3, depth=1)
    assert record.parameters == record.parameters_with_gradient
    assert record.parameter_names_without_gradient == []


def test_an_unknown_model_is_an_input_error():
    with pytest.raises(InputError, match="posemamba_s"):
        cost.measure("posemamba_ss")


# Modules of the user's

OWN = """
import torch
from torch import nn
from beside import WIDTH

@torch.library.custom_op("liftbench_test::blend", mutates_args=())
def blend(x: torch.Tensor) -> torch.Tensor:
    return x.cumsum(1)

class Lifter(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(2, WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x):
        y = self.head(blend(self.embed(x)))
        return y if y.sum() < 1 else y  # looks at its numbers, which do not exist on the meta device

def build():
    return Lifter()

def centre():
    return nn.Sequential(nn.Flatten(), nn.Linear(9 * 34, 51), nn.Unflatten(1, (1, 17, 3)))

def no_frames():
    return nn.Sequential(nn.Flatten(), nn.Linear(9 * 34, 51), nn.Unflatten(1, (17, 3)))

def two_answers():
    return nn.LSTM(2, 3, batch_first=True)

def three_channels():
    return nn.Linear(3, 3)

def five_channels():
    return nn.Linear(5, 3)

def needs_length(frames):
    raise ValueError(f"no {frames}")

def needs_arguments(depth):
    return nn.Linear(2, 3)

def stops():
    raise SystemExit(1)

def no_module():
    return {}

def lazy():
    return nn.LazyLinear(3)


class Once(nn.Linear):
    def __init__(self):
        super().__init__(2, 3)
        self.called = False

    def forward(self, keypoints):
        if self.called:
            raise RuntimeError("only once")
        self.called = True
        return super().forward(keypoints)


def no_dimension():
    return nn.Sequential(nn.Linear(2, 3), nn.Softmax())


number = 3
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "beside.py").write_text("WIDTH = 8\n")
    (folder / "broken.py").write_text("import torch\nimport no_such_library\n")
    (folder / "typo.py").write_text("def build(:\n")
    (folder / "mine.py").write_text(OWN)
    return folder


def test_a_module_of_the_users_is_counted_and_its_operator_is_named(own):
    record = cost.measure(f"{own}/mine.py:build", frames=9)
    n = 9 * 17
    assert (record.model, record.frames, record.numbers, record.output_frames) == ("mine.py:build", 9, {}, 9)
    assert record.contraction_macs_by_operator == {"linear": n * (2 * 8 + 8 * 3)} == record.fvcore.macs_by_operator
    assert record.uncounted_operator_calls == {"blend": 1}
    assert record.fvcore.uncounted_operator_calls["liftbench_test::blend"] == 1
    assert record.parameters == record.thop.parameters == 2 * 8 + 8 + 8 * 3 + 3
    assert record.parameters_with_gradient is None and "no autograd formula" in record.gradient_missing
    assert record.elementwise_operations_by_operator == {"lt": 1, "sum": n * 3}
    assert CostRecord.model_validate_json(record.model_dump_json(by_alias=True)) == record
    table = cost_tables.cost_by_operator(Results([record], PUBLISHED))
    assert table.rows[0]["operators not counted, and their calls"] == "blend 1"
    table = cost_tables.cost(Results([record], PUBLISHED))
    assert table.rows[0]["parameters in use"] == Missing(record.gradient_missing)


def test_a_centre_frame_module_of_the_users(own):
    record = cost.measure(f"{own}/mine.py:centre", frames=9)
    assert (record.output_frames, record.macs_per_output_frame) == (1, 9 * 34 * 51)
    assert record.parameters == record.parameters_with_gradient == 9 * 34 * 51 + 51
    assert record.activation_bytes_kept_for_backward == 4 * 9 * 34
    assert record.activation_bytes_peak_inference == 4 * (9 * 34 + 51)


@pytest.mark.parametrize(
    "where, message",
    [
        ("none.py:build", "Cannot read .*none.py: there is no such file. Check the path"),
        ("mine.py", "names no function of a file. Write path/to/file.py:build"),
        ("mine.txt:build", "names no function of a file"),
        ("broken.py:build", r"Cannot import .*broken.py: ModuleNotFoundError: No module .*\(line 2\)"),
        ("typo.py:build", r"Cannot import .*typo.py: SyntaxError: .*\(line 1\)"),
        ("mine.py:bild", "Cannot use .*mine.py: it has no function 'bild'. Define one"),
        ("mine.py:number", "it has no function 'number'"),
        ("mine.py:needs_arguments", "Cannot call mine.py:needs_arguments without arguments: TypeError: .*depth"),
        ("mine.py:stops", "Cannot call mine.py:stops without arguments: SystemExit: 1"),
        ("mine.py:no_module", "it returns dict, not a module. Let it return a torch.nn.Module"),
        ("mine.py:lazy", "parameters of its module have no shape yet. Call the module on a clip first"),
        (
            "mine.py:Once",
            r"Cannot run mine.py:Once on a clip of shape \(1, 9, 17, 2\): RuntimeError: only once",
        ),
        ("mine.py:needs_length", "Cannot call mine.py:needs_length with frames=9: ValueError: no 9"),
        ("mine.py:no_dimension", "Cannot count mine.py:no_dimension by thop: TypeError"),
        (
            "mine.py:five_channels",
            r"five_channels: it fails on .* \(1, 9, 17, 2\): RuntimeError.* \(1, 9, 17, 3\): Runtime",
        ),
        ("mine.py:two_answers", r"Cannot run mine.py:two_answers: it fails on a clip of shape \(1, 9, 17, 2\)"),
        (
            "mine.py:no_frames",
            r"answers a clip of shape \(1, 9, 17, 2\) with \(1, 17, 3\). Let it return one tensor \(1, f",
        ),
    ],
)
def test_what_is_wrong_with_a_module_of_the_users_is_said_in_one_sentence(own, where, message):
    with pytest.raises(InputError, match=message) as error:
        cost.measure(f"{own}/{where}", frames=9)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


def test_the_clip_of_a_module_of_the_users_has_the_frames_asked_for_and_the_channels_that_it_takes(own):
    record = cost.measure(f"{own}/mine.py:three_channels", frames=4)
    assert (record.frames, record.macs_per_clip) == (4, 4 * 17 * 3 * 3)
    with pytest.raises(InputError, match="is not a number of frames. Give a positive whole number"):
        cost.measure(f"{own}/mine.py:build", frames=0)


def test_what_lies_beside_one_file_is_forgotten_before_the_next(tmp_path):
    searched = list(sys.path)
    for width in (3, 30):
        folder = tmp_path / f"width_{width}"
        folder.mkdir()
        (folder / "width_of_mine.py").write_text(f"WIDTH = {width}\n")
        (folder / "net.py").write_text(
            "from torch import nn\nfrom width_of_mine import WIDTH\n"
            "def build():\n    return nn.Sequential(nn.Linear(2, WIDTH), nn.Linear(WIDTH, 3))\n"
        )
        assert cost.measure(f"{folder}/net.py:build", frames=2).macs_per_clip == 2 * 17 * 5 * width
    assert sys.path == searched and "width_of_mine" not in sys.modules


class Keywords(nn.Module):
    """Calls its modules with keywords."""

    def __init__(self):
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(2), nn.Linear(2, 3)

    def forward(self, keypoints):
        return self.linear(input=self.norm(input=keypoints))


def test_modules_called_with_keywords():
    clip = torch.zeros(1, 4, 17, 2)
    elements = clip.numel()
    seen = cost.count(Keywords(), clip, "cpu")
    assert (seen.contraction_macs, seen.uncounted) == ({"linear": elements * 3}, {})
    assert seen.elementwise == {"native_layer_norm": 7 * elements}
    assert cost.count_by_thop(Keywords(), clip, "cpu").macs == elements * 3 + 4 * elements


def test_a_causal_mask_is_no_operation():
    class Causal(nn.Module):
        def forward(self, keypoints):
            return F.scaled_dot_product_attention(keypoints, keypoints, keypoints, is_causal=True)

    assert not cost.count(Causal(), torch.zeros(1, 4, 17, 2)).uncounted


# Tables and rules


def test_the_rules_stand_in_the_documentation_and_under_the_table():
    text = " ".join((ROOT / "bench" / "README.md").read_text().split())
    for rule in (rules.OURS, rules.ELEMENTWISE, rules.THOP, rules.FVCORE, rules.MEMORY, rules.FRAMES):
        assert rule in text
        assert rule in cost_tables.cost(Results([], PUBLISHED)).notes


def test_modules_are_grouped_by_two_names():
    record = cost.measure("posemamba_toy", frames=3)
    groups = cost_tables.by_group(record)
    assert list(groups) == [
        "Spatial_patch_to_embedding", "STEblocks.*.op", "STEblocks.*.mlp", "TTEblocks.*.op", "TTEblocks.*.mlp",
        "head.1",
    ]  # fmt: skip
    assert groups["STEblocks.*.mlp"] == 2 * 3 * 17 * (2 * 32 * 64)
    assert sum(groups.values()) == record.macs_per_clip
