"""Every kind of comparator is trained, in float32 and under bfloat16, evaluated, stored and loaded."""

import numpy as np
import pandas as pd
import pytest
import torch

from liftbench import create_model, load_weights
from liftbench.baselines.training.loop import train
from liftbench.baselines.training.recipe import Recipe
from support.in_child import few_clips

SMALL = {"embed_dim": 16, "depth": 1}
NUMBERS = {
    "motionagformer_xs": SMALL, "mixste": SMALL, "motionbert_lite": SMALL, "stcformer_27": SMALL,
    "poseformerv2_27": {"embed_dim": 8, "depth": 1}, "videopose3d_27": {"channels": 16},
}  # fmt: skip
SETTINGS = {
    "frames": 9, "stride": 360, "batch_size": 16, "loss": {"mpjpe": 1}, "epochs": 2, "optimizer": "adam_amsgrad",
    "learning_rate": 1e-3, "learning_rate_decay": 0.9,
}  # fmt: skip


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_comparator_trains(name, precision, synthetic_dataset, tmp_path, one_thread):
    recipe = Recipe(model=name, numbers=NUMBERS[name], precision=precision, **SETTINGS)
    train(recipe, few_clips(synthetic_dataset), tmp_path, "cpu")
    log = pd.read_csv(tmp_path / "log.csv")
    assert len(log) == 2 and np.isfinite(log["loss"]).all() and np.isfinite(log["test_mpjpe_mm"]).all()
    model = load_weights(create_model(name, frames=9, **NUMBERS[name]), tmp_path / "best.safetensors").eval()
    with torch.no_grad():
        assert model(torch.zeros(2, 9, 17, 3 if name.startswith("motion") else 2)).isfinite().all()
