"""Models under pytest-benchmark, with the scans that run here; README.md beside this file has the commands."""

import pytest
import torch

from liftbench import kernels
from liftbench.bench.measure import timing
from liftbench.bench.measure.calls import CALLS, Timed

if torch.get_num_threads() > 1 and not timing.idle_threads_spin():
    pytest.skip(timing.SLEEPING, allow_module_level=True)

MODELS = {"posemamba_toy": 27, "posemamba_s": 27, "pose3dm_s": 27, "mdtf_tiny": 27}
SCANS = [name for name in kernels.IMPLEMENTATIONS if name != "reference" and not kernels.unusable(name)]


@pytest.mark.parametrize("name", SCANS)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("model", MODELS)
def test_model(benchmark, model, call, name):
    if model == "mdtf_tiny" and call == "training step":
        pytest.skip("it is trained in two stages")
    benchmark.group = f"{model}, {MODELS[model]} frames, {call}"
    timed = Timed(model, MODELS[model], call=call, scan=name)
    benchmark.pedantic(timed.on(1), warmup_rounds=1, rounds=7)
