"""The comparators: parity with the official implementations, and their counts."""

import functools
import json

import numpy as np
import pytest
import torch

from liftbench import load_weights
from liftbench.baselines import registry
from liftbench.baselines.models.mixste import MixSTE
from liftbench.baselines.models.motionagformer import NEIGHBOURS, MotionAGFormer, TemporalGraphMixer
from liftbench.baselines.models.motionbert import MotionBERT
from liftbench.baselines.models.poseformerv2 import PoseFormerV2, dct_matrix, inverse_dct_matrix
from liftbench.baselines.models.stcformer import STCFormer
from liftbench.baselines.models.videopose3d import VideoPose3D, filter_widths
from liftbench.bench.measure import cost
from support import GOLDEN

# The official code in float32 meets these outputs within 1e-6; they are stored as float32, hence 1e-6 in float64.
PARITY = {torch.float32: 5e-5, torch.float64: 1e-6}

# How the golden models are built; numbers that their files state are checked against them.
SMALL = {
    "motionagformer_small": lambda: MotionAGFormer(27, 32, 2, rep_dim=64),
    "mixste_small": lambda: MixSTE(27, 32, 3),
    "motionbert_small": lambda: MotionBERT(27, 32, 2, 2, rep_dim=64),
    "videopose3d_small": lambda: VideoPose3D(27, 48, strided=False),
    "videopose3d_causal": lambda: VideoPose3D(15, 48, strided=False, causal=True),
    "stcformer_small": lambda: STCFormer(27, 32, 2),
    "poseformerv2_small": lambda: PoseFormerV2(27, 3, 5, 8, 2),
}
CONFIGS = {
    "motionagformer_small": {"n_layers": 2, "dim_feat": 32, "dim_rep": 64, "n_frames": 27, "num_heads": 8,
                             "mlp_ratio": 4, "neighbour_num": 2},
    "mixste_small": {"num_frame": 27, "embed_dim_ratio": 32, "depth": 3, "num_heads": 8, "mlp_ratio": 2},
    "motionbert_small": {"dim_feat": 32, "dim_rep": 64, "depth": 2, "num_heads": 8, "mlp_ratio": 2, "maxlen": 27},
    "videopose3d_small": {"filter_widths": [3, 3, 3], "channels": 48, "causal": False, "dense": False},
    "videopose3d_causal": {"filter_widths": [3, 5], "channels": 48, "causal": True, "dense": False},
    "stcformer_small": {"layers": 2, "d_hid": 32, "frames": 27},
    "poseformerv2_small": {"number_of_frames": 27, "number_of_kept_frames": 3, "number_of_kept_coeffs": 5,
                           "embed_dim_ratio": 8, "depth": 2},
}  # fmt: skip


def golden(name, dtype=torch.float64, model=None):
    """Return (the golden model with its weights, in evaluation mode; its input; its arrays)."""
    arrays = np.load(GOLDEN / f"comparators/{name}.npz")
    assert json.loads(str(arrays["config"])) == CONFIGS[name]
    model = model or SMALL[name]()
    model.load_state_dict({key[6:]: torch.tensor(arrays[key]) for key in arrays.files if key.startswith("state/")})
    return model.to(dtype).eval(), torch.tensor(arrays["input"]).to(dtype), arrays


def assert_meets(output, expected, dtype=torch.float64):
    assert output.dtype == dtype and output.shape == expected.shape
    assert (output - torch.tensor(expected)).abs().max() < PARITY[dtype]


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    pass


# Parity.


@pytest.mark.parametrize("dtype", PARITY)
@pytest.mark.parametrize("name", SMALL)
def test_parity(name, dtype):
    model, keypoints, arrays = golden(name, dtype)
    with torch.no_grad():
        assert_meets(model(keypoints), arrays["output"], dtype)


@pytest.mark.parametrize("dtype", PARITY)
@pytest.mark.parametrize("name, module", [("motionagformer_small", "rep_logit"), ("motionbert_small", "pre_logits")])
def test_representation(name, module, dtype):
    model, keypoints, arrays = golden(name, dtype)
    seen = []
    getattr(model, module).register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.no_grad():
        model(keypoints)
    assert_meets(seen[0][:, :3], arrays["representation"], dtype)


@pytest.mark.parametrize("dtype", PARITY)
def test_motionbert_takes_a_short_clip(dtype):
    model, keypoints, arrays = golden("motionbert_small", dtype)
    with torch.no_grad():
        assert_meets(model(keypoints[:, :9]), arrays["output_short_clip"], dtype)


@pytest.mark.parametrize("dtype", PARITY)
@pytest.mark.parametrize("name", ["motionagformer_small", "videopose3d_small"])
def test_training_mode(name, dtype):
    """Compare batch statistics, and the running ones after one step."""
    model, keypoints, arrays = golden(name, dtype)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.eval()
    with torch.no_grad():
        assert_meets(model(keypoints), arrays["output_training"], dtype)
    after = {key[15:] for key in arrays.files if key.startswith("after_training/")}
    assert after == {key for key in model.state_dict() if "running" in key}
    for key in after:
        assert_meets(model.state_dict()[key], arrays[f"after_training/{key}"], dtype)


def test_motionagformer_gradients():
    model, keypoints, arrays = golden("motionagformer_small")
    model(keypoints).square().mean().backward()
    assert {key[5:] for key in arrays.files if key.startswith("grad/")} == {key for key, _ in model.named_parameters()}
    for key, parameter in model.named_parameters():
        assert_meets(parameter.grad, arrays[f"grad/{key}"])


@pytest.mark.parametrize("dtype", PARITY)
@pytest.mark.parametrize("name, frames", [("videopose3d_small", 27), ("videopose3d_causal", 15)])
def test_videopose3d_for_one_frame(name, frames, dtype):
    """The strided form has the weights of the dilated form and gives its pose for a clip of exactly its frames."""
    causal = name == "videopose3d_causal"
    strided, keypoints, arrays = golden(name, dtype, VideoPose3D(frames, 48, causal=causal))
    dilated, *_ = golden(name, dtype)
    with torch.no_grad():
        assert_meets(strided(keypoints[:, :frames]), arrays["output_one_frame"], dtype)
        assert_meets(dilated(keypoints[:, :frames]), arrays["output_one_frame"], dtype)
        for t in range(keypoints.shape[1] - frames + 1):  # every window of a video
            assert_meets(strided(keypoints[:, t : t + frames]), arrays["output"][:, t : t + 1], dtype)


def official(name, state):
    """Return a checkpoint as the official code of a golden model saves it."""
    if name == "stcformer_small":
        return state
    facts = {"epoch": 7, "lr": 1e-4, "optimizer": {"state": {}, "param_groups": []}}
    wrapped = {f"module.{key}": value for key, value in state.items()}
    if name == "motionagformer_small":
        return facts | {"model": wrapped, "min_mpjpe": np.float64(38.4), "wandb_id": None}
    if name == "motionbert_small":
        return facts | {"model_pos": wrapped, "min_loss": np.float64(39.2)}
    facts["random_state"] = np.random.RandomState(1234)
    if name.startswith("videopose3d"):
        return facts | {"model_pos": state, "model_traj": None}
    return facts | {"model_pos": wrapped}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", SMALL)
def test_official_checkpoints_load(name, zipped, tmp_path):
    model, keypoints, _ = golden(name, torch.float32)
    path = tmp_path / "best_epoch.bin"
    torch.save(official(name, model.state_dict()), path, _use_new_zipfile_serialization=zipped)
    loaded = load_weights(SMALL[name](), path).eval()
    with torch.no_grad():
        assert torch.equal(loaded(keypoints), model(keypoints))


# Pieces.


def test_motionagformer_gathers_what_the_dense_matrix_product_gives():
    """A = 1 where a similarity reaches the row's second largest, D its row sums, D^-1/2 A D^-1/2 V."""
    torch.manual_seed(0)
    y, values = torch.randn(2, 5, 9, 4, dtype=torch.float64)
    similarity = y @ y.transpose(1, 2)
    adjacency = (similarity >= similarity.topk(2).values[..., -1:]).double()
    assert (adjacency.sum(-1) == 2).all()
    scale = torch.diag_embed(adjacency.sum(-1) ** -0.5)
    mixer = TemporalGraphMixer(4, 9)
    torch.testing.assert_close(mixer.aggregate(y, values), scale @ adjacency @ scale @ values)
    repeated = y[:, :1].expand(-1, 9, -1)  # one pose again and again: all frames are neighbours
    torch.testing.assert_close(mixer.aggregate(repeated, repeated), repeated)


def test_motionagformer_chooses_neighbours_in_float32_under_autocast():
    torch.manual_seed(0)
    y, values = torch.randn(2, 8, 27, 32)
    mixer = TemporalGraphMixer(32, 27)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mixer.aggregate(y, values), mixer.aggregate(y, values.clone()))
        under_autocast = mixer.aggregate(y, values)
    assert torch.equal(under_autocast, mixer.aggregate(y, values))
    rough = y.bfloat16() @ y.bfloat16().transpose(1, 2)
    assert not torch.equal(rough.topk(2).indices, (y @ y.transpose(1, 2)).topk(2).indices), "which would differ"


def test_motionagformer_neighbours_are_one_sided_at_three_joints():
    seen = {(joint, other) for joint, others in enumerate(NEIGHBOURS) for other in others}
    assert len(seen) == 29
    assert {pair for pair in seen if pair[::-1] not in seen} == {(4, 0), (11, 8), (14, 8)}


def test_motionbert_starts_as_published():
    torch.manual_seed(0)
    model = MotionBERT(27, 32, 2, 2)
    weights = [value.flatten() for key, value in model.named_parameters() if value.dim() > 1 and "ts_attn" not in key]
    assert torch.cat(weights).std().item() == pytest.approx(0.02, rel=0.02)
    assert all((fusion.weight == 0).all() and (fusion.bias == 0.5).all() for fusion in model.ts_attn)
    assert all((value == 0).all() for key, value in model.named_parameters() if key.endswith("fc1.bias"))


def test_motionagformer_starts_as_published():
    torch.manual_seed(0)
    model = MotionAGFormer(9, 64, 1)
    assert (model.pos_embed == 0).all()
    assert (model.layers[0].att_spatial.layer_scale_1 == torch.tensor(1e-5)).all()
    assert (model.layers[0].fusion.weight == 0).all() and (model.layers[0].fusion.bias == 0.5).all()
    assert model.layers[0].graph_temporal.mixer.U.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.05)


def test_drop_path_rises_to_a_tenth():
    model, other = MixSTE(3, 16, 5), PoseFormerV2(3, 1, 1, 8, 5)
    for blocks in (model.STEblocks, model.TTEblocks, other.Spatial_blocks, other.blocks):
        assert [block.drop_path.p for block in blocks] == pytest.approx([0, 0.025, 0.05, 0.075, 0.1])


@pytest.mark.parametrize("length", [1, 2, 3, 27])
def test_cosine_transform(length):
    x = torch.randn(length, 2, dtype=torch.float64)
    by_hand = [
        2 * sum(x[t] * np.cos(np.pi * k * (2 * t + 1) / (2 * length)) for t in range(length)) for k in range(length)
    ]
    torch.testing.assert_close(dct_matrix(length) @ x, torch.stack(by_hand))
    torch.testing.assert_close(inverse_dct_matrix(length) @ dct_matrix(length) @ x, x)


def test_filter_widths():
    assert [filter_widths(frames) for frames in (3, 15, 27, 7)] == [[3], [3, 5], [3, 3, 3], [7]]
    for frames in (1, 2, 54):
        with pytest.raises(ValueError, match=f"frames must be odd and at least 3, not {frames}"):
            filter_widths(frames)


@pytest.mark.parametrize(
    "build, frames, message",
    [
        (lambda: MixSTE(9, 16, 1), 8, "Cannot read a clip of 8 frames: this model takes exactly 9"),
        (lambda: MotionAGFormer(9, 16, 1), 10, "Cannot read a clip of 10 frames: this model takes exactly 9"),
        (lambda: MotionAGFormer(1, 16, 1), 1, "frames must be at least 2, not 1"),
        (lambda: MotionBERT(9, 16), 10, "Cannot read a clip of 10 frames: this model was built for at most 9"),
        (lambda: MotionBERT(9, 20), 9, "20 channels do not divide into 8 heads"),
        (lambda: STCFormer(9, 24), 9, "24 channels do not divide into two groups of 8 heads"),
        (lambda: PoseFormerV2(9, 3, 3), 8, "Cannot read a clip of 8 frames: this model takes exactly 9"),
        (lambda: PoseFormerV2(9, 4, 3), 9, "kept_frames must be odd and at most 9, not 4"),
        (lambda: PoseFormerV2(9, 3, 10), 9, "kept_coefficients must be from 1 to 9, not 10"),
        (lambda: VideoPose3D(9, 16), 10, "Cannot read a clip of 10 frames: this model takes exactly 9"),
        (lambda: VideoPose3D(9, 16, strided=False), 8, "Cannot read a clip of 8 frames: this model takes at least 9"),
    ],
)
def test_wrong_requests(build, frames, message):
    with pytest.raises(ValueError, match=message):
        model = build()
        model(torch.zeros(1, frames, 17, 3 if isinstance(model, (MotionAGFormer, MotionBERT)) else 2))


# Counts, of the official implementations, on one clip.

XS, S, B, L = ({"embed_dim": c, "depth": depth} for c, depth in ((64, 12), (64, 26), (128, 16), (128, 26)))
LITE = {"embed_dim": 256, "mlp_ratio": 4}


def tokens(frames, kept_frames, kept_coefficients):
    return {"frames": frames, "kept_frames": kept_frames, "kept_coefficients": kept_coefficients}


# Model, its numbers; parameters, persistent buffers, tensors of a checkpoint; parameters and MACs by thop;
# contractions.
COUNTS = [
    (MotionAGFormer, {"frames": 27} | XS, (2_241_531, 1_080, 801), (2_234_299, 1_024_135_488), 1_077_181_200),
    (MotionAGFormer, {"frames": 81} | S, (4_817_119, 5_148, 1725), (4_802_719, 6_601_051_584), 7_858_781_352),
    (MotionAGFormer, {"frames": 243} | B, (11_723_811, 8_352, 1065), (11_705_251, 48_301_370_496), 64_459_727_424),
    (MotionAGFormer, {"frames": 243} | L, (19_007_111, 13_572, 1725), (18_978_311, 78_314_242_176), 104_572_894_104),
    (MotionAGFormer, {"frames": 81} | B, (11_718_627, 3_168, 1065), (11_700_067, 16_100_456_832), 17_346_322_368),
    (MotionAGFormer, {"frames": 81} | L, (18_998_687, 5_148, 1725), (18_969_887, 26_104_747_392), 28_129_719_528),
    (MixSTE, {"frames": 243}, (33_783_811, 0, 204), (33_650_691, 139_038_488_064), 147_422_633_472),
    (MixSTE, {"frames": 81}, (33_700_867, 0, 204), (33_650_691, 46_346_162_688), 47_313_455_616),
    (MixSTE, {"frames": 27}, (33_673_219, 0, 204), (33_650_691, 15_448_720_896), 15_568_104_960),
    (MotionBERT, {"frames": 243}, (42_466_317, 0, 260), (42_333_197, 174_751_478_784), 185_402_981_376),
    (MotionBERT, {"frames": 243} | LITE, (16_001_549, 0, 260), (15_934_989, 65_720_574_720), 71_046_326_016),
    (VideoPose3D, {"frames": 243, "strided": False}, (16_952_371, 18_441, 56), (16_952_371, 2_614_948_864),
     2_608_915_456),
    (VideoPose3D, {"frames": 243}, (16_952_371, 18_441, 56), (16_952_371, 176_944_128), 176_284_672),
    (VideoPose3D, {"frames": 81}, (12_753_971, 14_343, 44), (12_753_971, 57_615_360), 57_398_272),
    (VideoPose3D, {"frames": 27}, (8_555_571, 10_245, 32), (8_555_571, 17_839_104), 17_769_472),
    (STCFormer, {"frames": 27}, (4_748_000, 0, 92), (4_747_520, 2_178_406_656), 2_203_787_520),
    (STCFormer, {"frames": 81}, (4_748_000, 0, 92), (4_747_520, 6_535_219_968), 6_725_576_448),
    (STCFormer, {"frames": 243}, (4_748_000, 0, 92), (4_747_520, 19_605_659_904), 21_204_654_336),
    (STCFormer, {"frames": 243, "embed_dim": 512}, (18_933_184, 0, 92), (18_932_224, 78_196_326_912), 81_394_315_776),
    (PoseFormerV2, tokens(27, 1, 3), (14_354_649, 0, 139), (14_351_929, 38_653_376), 38_694_720),
    (PoseFormerV2, tokens(27, 3, 3), (14_355_739, 0, 139), (14_351_931, 58_788_992), 58_987_008),
    (PoseFormerV2, tokens(81, 9, 9), (14_362_279, 0, 139), (14_351_943, 176_247_296), 177_790_080),
    (PoseFormerV2, tokens(243, 27, 27), (14_381_899, 0, 139), (14_351_979, 528_622_208), 541_719_552),
]  # fmt: skip
every_row = pytest.mark.parametrize(
    "build, numbers, counts, thop, contractions", COUNTS,
    ids=[f"{row[0].__name__}-{'-'.join(map(str, row[1].values()))}" for row in COUNTS],
)  # fmt: skip


def on_meta(build, numbers):
    """Return (the model, a clip); neither holds values."""
    with torch.device("meta"):
        model = build(**numbers).eval()
        return model, torch.zeros(1, numbers["frames"], 17, 3 if build in (MotionAGFormer, MotionBERT) else 2)


# Parameters as closed forms: k blocks of C channels, R = 512.
CLOSED_FORMS = {
    MotionAGFormer: lambda t, c, k: k * (44 * c**2 + 54 * c + 36 + 2 * t) + 535 * c + 2_051,
    MixSTE: lambda t, c=512, k=8: 2 * k * (8 * c**2 + 11 * c) + (29 + t) * c + 3,
    MotionBERT: lambda t, c=512, r=2, k=5: (
        2 * k * ((8 + 4 * r) * c**2 + (18 + 2 * r) * c) + k * (4 * c + 2) + (23 + t) * c + 512 * (c + 1) + 3 * 512 + 3
    ),
    VideoPose3D: lambda t, strided=True, c=1024: 155 * c + 51 + (len(filter_widths(t)) - 1) * (4 * c**2 + 4 * c),
    STCFormer: lambda t, c=256, k=6: k * (12 * c**2 + 18 * c + 5 * c // 16) + 5 * c,
    PoseFormerV2: lambda t, f, n, e=32, d=544, k=4: (
        k * (8 * e**2 + 11 * e) + k * (12 * d**2 + 16 * d) + 22 * e + 37 * d + (f + n) * d + f + n + 2 + 106 * d + 51
    ),
}


@every_row
def test_parameters(build, numbers, counts, thop, contractions):
    model = build(**numbers)  # PyTorch initialises on the meta device in Python, which takes longer than real numbers
    state = model.state_dict()
    own = [value for _, value in model.named_parameters()]
    found = sum(value.numel() for value in own)
    assert (found, sum(value.numel() for value in state.values()) - found, len(state)) == counts
    assert CLOSED_FORMS[build](*numbers.values()) == counts[0]


DEPTHS = {MixSTE: 8, MotionBERT: 5, STCFormer: 6, PoseFormerV2: 4}  # for rows that do not state it


@functools.cache
def counted(build, **numbers):
    """Parameters and MACs by thop, our contractions."""
    model, clip = on_meta(build, numbers)
    seen, thop = cost.count(model, clip), cost.count_by_thop(model, clip)
    assert set(seen.uncounted) <= {"topk"}
    return np.array([thop.parameters, thop.macs, seen.contraction_macs.total()])


@every_row
def test_costs(build, numbers, counts, thop, contractions):
    """Count at depths 1 and 2 and extrapolate to the depth of the row, because blocks are alike."""
    if build is VideoPose3D:
        found = counted(build, **numbers)
    else:
        one, two = (counted(build, **(numbers | {"depth": depth})) for depth in (1, 2))
        found = one + (numbers.get("depth", DEPTHS.get(build)) - 1) * (two - one)
    assert found.tolist() == [*thop, contractions + beside_the_official(build, numbers)]


def beside_the_official(build, numbers):
    """Return our contractions minus the official ones, for models that compute the same in another way."""
    t, j = numbers["frames"], 17
    if build is MotionAGFormer:  # no product with diagonal matrices, and temporal neighbours are gathered
        diagonal, aggregation = 2 * t * j * (j**2 + t**2), t**2 * j * numbers["embed_dim"]
        return -numbers["depth"] * (diagonal + aggregation)
    if build is PoseFormerV2:  # cosine transforms are products with a matrix: of the input, and in 4 blocks both ways
        n, m, d = numbers["kept_coefficients"], (numbers["kept_coefficients"] + numbers["kept_frames"]) // 2, 17 * 32
        return n * t * 34 + 4 * 2 * m**2 * d
    return 0


@pytest.mark.parametrize(
    "build, numbers, official",
    [
        (VideoPose3D, {"frames": 27}, 17_804_288),
        (VideoPose3D, {"frames": 81}, 57_506_816),
        (PoseFormerV2, tokens(27, 1, 3), 38_822_560),
        (STCFormer, {"frames": 27}, 2_210_837_760),
    ],
)
def test_fvcore_sees_what_it_sees_of_the_official_code_but_fused_attention(build, numbers, official):
    model, clip = build(**numbers).eval(), torch.zeros(1, numbers["frames"], 17, 2)
    seen, by_fvcore = cost.count(model, clip), cost.count_by_fvcore(model, clip)
    attention = seen.contraction_macs["attention"]
    assert by_fvcore.macs == official + beside_the_official(build, numbers) - attention
    assert ("scaled_dot_product_attention" in by_fvcore.uncounted_operator_calls) == (attention > 0)


@pytest.mark.parametrize("name", ["poseformerv2_27", "videopose3d_27", "stcformer_27"])
def test_every_parameter_is_in_use(name):
    """Make the whole cost record with the command's own function."""
    record = cost.measure(name)
    assert record.parameters == record.parameters_with_gradient == registry.MODELS[name].parameters
    assert record.output_frames == (27 if name == "stcformer_27" else 1)
    alone = record.activation_bytes_kept_for_backward is None  # a batch norm that sees one value has no variance
    assert alone == (record.gradient_missing is not None) == (name == "videopose3d_27")
