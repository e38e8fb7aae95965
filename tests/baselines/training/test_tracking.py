"""Tracking: log.csv and TensorBoard whatever happens, Weights & Biases when asked for."""

import importlib.machinery
import sys
import types

import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from liftbench.baselines.errors import InputError
from liftbench.baselines.training.tracking import check_services, tracking

ROWS = [{"epoch": epoch, "loss": 1 / (epoch + 1), "test_mpjpe_mm": 100.0 - epoch} for epoch in range(4)]


def test_a_resumed_run_goes_on_in_tensorboard_and_in_the_table(tmp_path):
    with tracking(tmp_path, {}) as log:
        for count in (1, 2, 3):
            log([row | {"loss": 9.0} if count == 3 and row["epoch"] == 2 else row for row in ROWS[:count]])
    with tracking(tmp_path, {}, ROWS[:2]) as log:  # killed before the checkpoint of the third epoch
        log(ROWS[:3])
        log(ROWS)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [
        (row["epoch"], pytest.approx(row["loss"])) for row in ROWS
    ]
    assert pd.read_csv(tmp_path / "log.csv").to_dict("records") == ROWS


def test_without_services_there_is_only_the_table(tmp_path):
    with tracking(tmp_path, {}, services=()) as log:
        log(ROWS)
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


class FakeRun(list):
    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.append("finished")

    def log(self, numbers, step):
        self.append((step, numbers["loss"]))


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in for the package that records the calls."""
    module = types.ModuleType("wandb")
    module.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
    module.Error, module.calls, module.run = type("Error", (Exception,), {}), [], FakeRun()

    def init(**settings):
        module.calls.append(settings)
        return module.run

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_weights_and_biases_goes_on_in_the_same_run(wandb, tmp_path):
    for done in (0, 2):
        with tracking(tmp_path, {"epochs": 4}, ROWS[:done], ["wandb"]) as log:
            log(ROWS[: done + 1])
    assert wandb.run == [(0, 1), "finished", (2, pytest.approx(1 / 3)), "finished"]
    first, second = wandb.calls
    assert first == second and first["config"] == {"epochs": 4} and first["resume"] == "allow"
    with tracking(tmp_path, {}, services=["wandb"]):
        pass
    assert wandb.calls[-1]["id"] != first["id"], "a run from its beginning is another one"


def test_weights_and_biases_without_login(wandb, tmp_path):
    def init(**_):
        raise wandb.Error("api_key not configured")

    wandb.init = init
    with pytest.raises(InputError, match="not start .api_key not configured.. Log in .* or set WANDB_MODE=offline"):
        with tracking(tmp_path, {}, services=["wandb"]):
            pass


def test_unknown_and_missing_services(monkeypatch):
    with pytest.raises(
        InputError, match="Cannot log to 'mlflow': there is no such service. Choose tensorboard or wandb"
    ):
        check_services(["mlflow"])
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"not installed. Install it with `pip install 'liftbench\[wandb\]'`"):
        check_services(["tensorboard", "wandb"])
