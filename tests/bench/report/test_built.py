"""Every row of published.csv has its network here, or a reason why not; what only a paper tabulates is counted too."""

import json

import pytest

from liftbench.baselines.registry import MODELS
from liftbench.bench.report.built import built, called
from liftbench.bench.report.results import Key, Missing, load_reference

RESULTS = load_reference()
ROWS = {
    (row.model, row.variant, row.dataset, row.detector, row.frames): row for _, row in RESULTS.published_all.iterrows()
}
ELSEWHERE = {"MHFormer", "P-STMO", "GLA-GCN", "HSTFormer", "HDFormer", "Einfalt et al."}


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: f"{row.model} {row.variant} {row.dataset} {row.frames}")
def test_every_published_network_is_counted_or_has_a_reason(row):
    key = built(row)
    if isinstance(key, Missing):
        older = (row.model, row.dataset) in {("STCFormer", "MPI-INF-3DHP"), ("PoseFormerV2", "MPI-INF-3DHP")}
        assert older or row.model in ELSEWHERE
    else:
        assert key.model in MODELS and key.frames == row.frames and key in RESULTS.cost


@pytest.mark.parametrize(
    "row, model, numbers",
    [
        (("PoseMamba", "40 blocks x 32 channels", "Human3.6M", "SH", 243), "posemamba_s",
         {"depth": 20, "embed_dim": 32}),
        (("PoseMamba", "S, loss: MPJPE", "Human3.6M", "SH", 243), "posemamba_s", {}),
        (("PoseMamba", "S, both ways without limbs", "Human3.6M", "SH", 243), "posemamba_s_global", {}),
        (("PoseFormerV2", "1 frame, 3 coefficients", "Human3.6M", "CPN", 81), "poseformerv2_27", {"kept_frames": 1}),
        (("PoseFormerV2", "3 frames and coefficients", "Human3.6M", "CPN", 81), "poseformerv2_27", {}),
        (("VideoPose3D", "true boxes", "Human3.6M", "CPN", 243), "videopose3d_243", {}),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_a_variant_is_the_network_that_its_words_say(row, model, numbers):
    assert built(ROWS[row]) == Key(model, row[-1], json.dumps(numbers, sort_keys=True))


def test_a_one_way_scan_is_not_named_after_one_of_the_four():
    row = ROWS["PoseMamba", "S, one-way scan 2", "Human3.6M", "SH", 243]
    assert "the table's order could not be read" in called(row).reason
    four = [f"posemamba_s_{joints}_{frames}" for joints in ("fs", "bs") for frames in ("ft", "bt")]
    costs = [RESULTS.cost[Key(name, 243, "{}")] for name in four]
    assert len({(cost.parameters, cost.macs_per_clip) for cost in costs}) == 1


def test_posemamba_s_table_of_sizes_is_thops_count():
    cost = RESULTS.cost[built(ROWS["PoseMamba", "12 blocks x 256 channels", "Human3.6M", "SH", 243])]
    assert (round(cost.thop.parameters / 1e6, 3), round(cost.thop.macs / 1e9, 1)) == (7.963, 33.0)
