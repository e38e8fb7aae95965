import copy

import pytest
import torch
from torch import nn

import kernels
from baselines import create_model
from baselines.errors import InputError
from bench import cost

JOINTS, STATES, DIRECTIONS = 17, 16, 4


def posemamba_macs(channels, depth, frames):
    """Contraction MACs of PoseMamba by operator, from models.md."""
    cells, inner, rank, mixers = frames * JOINTS, 2 * channels, -(-channels // 16), 2 * depth
    projections = channels * 2 * inner + inner * channels
    mlp = 2 * channels * 2 * channels
    return {
        "convolution": mixers * cells * inner * 9,
        "einsum": mixers * cells * DIRECTIONS * inner * ((rank + 2 * STATES) + rank),
        "linear": cells * (2 * channels + mixers * (projections + mlp) + channels * 3),
    }


def thop_macs(channels, depth, frames):
    """thop: linear and convolution, and 4 an element of every LayerNorm; no einsum, no scan."""
    seen = posemamba_macs(channels, depth, frames)
    cells, inner = frames * JOINTS, 2 * channels
    norms = 2 * depth * (channels + channels + inner + channels) + channels  # norm, norm2, out_norm, shared; head
    return seen["convolution"] + seen["linear"] + 4 * cells * norms


@pytest.mark.parametrize(
    "name, channels, depth, parameters, thop, contraction_macs",
    [
        ("posemamba_s", 64, 10, 1_470_211, (859_651, 3_587_426_496), 5_172_672_960),
        ("posemamba_b", 128, 10, 4_742_659, (3_357_699, 13_943_083_392), 17_790_399_360),
        ("posemamba_l", 128, 20, 9_450_499, (6_713_859, 27_881_407_872), 35_578_154_880),
    ],
)
def test_posemamba_costs_what_was_published(name, channels, depth, parameters, thop, contraction_macs):
    record = cost.measure(name)
    assert record.parameters == record.parameters_with_gradient == parameters
    assert (record.thop.parameters, record.thop.macs) == thop
    assert record.thop.macs == thop_macs(channels, depth, 243)
    assert record.contraction_macs_by_operator == posemamba_macs(channels, depth, 243)
    assert record.contraction_macs == contraction_macs

    length, inner = 243 * JOINTS, DIRECTIONS * 2 * channels
    (scan,) = record.scans
    assert (scan.channels, scan.length, scan.states, scan.calls) == (inner, length, STATES, 2 * depth)
    assert scan.macs_per_call == 9 * length * inner * STATES + length * inner
    assert record.scan_macs == 2 * depth * scan.macs_per_call
    assert record.macs_per_clip == record.contraction_macs + record.scan_macs
    assert record.macs_per_output_frame == record.macs_per_clip / 243
    assert record.uncounted_operator_calls["silu"] == 2 * 2 * depth
    assert record.uncounted_operator_calls["native_layer_norm"] == 2 * 4 * depth + 1


def test_the_unpublished_x_costs_what_thop_prints_of_the_official_code():
    model, clip = create_model("posemamba_x"), torch.zeros(1, 243, JOINTS, 2)
    thop = cost.count_by_thop(model, clip)
    assert (thop.parameters, thop.macs) == (26_534_915, 109_908_658_944)
    assert thop.macs == thop_macs(256, 20, 243)
    assert cost.count(model, clip).contraction_macs == posemamba_macs(256, 20, 243)


def test_the_lstm_costs_its_gates_at_every_step():
    record = cost.measure("lstm")
    assert record.contraction_macs_by_operator == {"LSTM": 81 * 4 * (34 + 512) * 512, "linear": 512 * 51}
    assert record.scan_macs == 0 and record.scans == []
    assert record.output_frames == 1
    assert record.macs_per_output_frame == record.macs_per_clip
    assert record.uncounted_operator_calls["tanh"] == 2 * 81


@pytest.mark.parametrize("name, keys", [("transformer", 81), ("transformer_published", 1)])
def test_the_transformer_costs_its_projections_and_its_attention(name, keys):
    record = cost.measure(name)
    per_frame = 34 * 256 + 3 * (256 * 3 * 256 + 256 * 256 + 2 * 256 * 512)
    assert record.contraction_macs_by_operator == {
        "linear": 81 * per_frame + 256 * 51,
        "attention": 3 * 2 * 81 * keys * 256,  # across clips, a frame meets only itself in a batch of one
    }
    assert record.buffer_elements == 81 * 256
    assert record.uncounted_operator_calls["safe_softmax"] == 3


def test_the_mlp_costs_two_layers():
    record = cost.measure("mlp", frames=27)
    assert record.contraction_macs_by_operator == {"linear": 27 * 34 * 1024 + 1024 * 51}
    assert record.thop.macs == record.contraction_macs
    assert record.uncounted_operator_calls == {"relu": 1}


def test_the_variants_numbers_and_the_frames_are_those_asked_for():
    record = cost.measure("posemamba_s", frames=27, depth=2)
    assert (record.frames, record.numbers, record.output_frames) == (27, {"depth": 2}, 27)
    assert record.contraction_macs_by_operator == posemamba_macs(64, 2, 27)


@pytest.mark.parametrize("implementation", kernels.IMPLEMENTATIONS)
def test_the_count_does_not_depend_on_the_scan_implementation(implementation):
    asked = cost.measure("posemamba_toy", scan_implementation=implementation)
    plain = cost.measure("posemamba_toy")
    same = {"created_utc", "environment", "numbers"}
    assert asked.model_dump(exclude=same) == plain.model_dump(exclude=same)


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


@pytest.mark.parametrize("count", [cost.count, cost.count_by_thop, cost.without_gradient])
def test_counting_leaves_no_trace(count):
    model = create_model("posemamba_toy")
    before, draw = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    count(model, torch.zeros(1, 27, JOINTS, 2))
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert model.training
    assert all(parameter.grad is None and parameter.device.type == "cpu" for parameter in model.parameters())
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks and not module._buffers
    assert torch.equal(torch.get_rng_state(), draw)
    assert torch.backends.mha.get_fastpath_enabled()
    assert kernels.choose("cpu", "reference") == "reference"


def test_an_unknown_model_is_an_input_error():
    with pytest.raises(InputError, match="posemamba_s"):
        cost.measure("posemamba_ss")
