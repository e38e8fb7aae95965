"""The recipes of configs/ are the published ones, and there is one for every published row that can be trained."""

import pandas as pd
import pytest

from liftbench.baselines import registry
from liftbench.baselines.training.lookup import recipe_name
from liftbench.baselines.training.recipe import read_recipe
from liftbench.bench.report.results import registered
from support import ROOT

CONFIGS = ROOT / "configs"
RECIPES = sorted(CONFIGS.rglob("*.yaml"))
# The published recipes: optimiser, rate, weight decay, decay of the rate per epoch, epochs, batch, clip, stride.
_POSES = ("adamw", 2e-4, 0.01, 0.99, 120, 4, 243, 81)
_STAGE_2 = ("adamw", 5e-4, 0.01, 0.99, 120, 16, 243, 81)
_CENTRE = ("adam", 1e-3, 0, 0.99, 15, 512, 81, 1)
PUBLISHED = {
    "posemamba_s": _POSES, "posemamba_b": _POSES, "posemamba_l": _POSES, "posemamba_x": _POSES,
    "pose3dm_s": _POSES, "pose3dm_b": _POSES, "pose3dm_l": _POSES, "mdtf_tiny": _STAGE_2, "mdtf_large": _STAGE_2,
    "lstm": _CENTRE, "transformer": _CENTRE, "transformer_published": _CENTRE, "mlp": _CENTRE,
}  # fmt: skip
STAGE_1 = (2e-3, 0.01, 0.99, 60, 128)
ON_3DHP = {"mdtf": ("adamw", 5e-4, 0.01, 0.99, 120, 64, 81, 9), "other": (*_POSES[:6], 81, 9)}
STAGE_1_ON_3DHP = (2e-3, 0.01, 0.99, 90, 128)
LOSSES = {
    "posemamba": {"mpjpe": 1, "n_mpjpe": 0.5, "velocity": 20, "temporal_consistency": 0.5},
    "mdtf": {"mpjpe": 1, "n_mpjpe": 0.5, "velocity": 20},
    "lstm": {"mpjpe": 1},
}
LOSSES |= {"pose3dm": LOSSES["posemamba"], "transformer": LOSSES["lstm"], "mlp": LOSSES["lstm"]}
FOLDERS = {
    "sh": ("h36m", "sh"),
    "baselines": ("h36m", "sh"),
    "gt": ("h36m", "gt"),
    "cpn": ("h36m_videopose3d", "cpn"),
    "3dhp": ("mpi_inf_3dhp", "gt"),
}
_AGFORMER = ("adamw", 5e-4, 0.01, 0.99, 60, 16)
_AGFORMER_3DHP = ("adam_amsgrad", 5e-4, 0, 0.99, 90, 16)
_MOTIONBERT = ("adamw", 2e-4, 0.01, 0.99, 120, 32, 243, 81)
_STCFORMER = ("adam_amsgrad", 1e-3, 0, 0.96, 20, 128 // 3)
_POSEFORMERV2 = ("adamw", 1e-4, 0.1, 0.99, 200, 1024)
_VIDEOPOSE3D = ("adam_amsgrad", 1e-3, 0, 0.95)
COMPARATORS = {
    "sh/motionagformer_xs": (*_AGFORMER, 27, 9), "sh/motionagformer_s": (*_AGFORMER, 81, 27),
    "sh/motionagformer_b": (*_AGFORMER, 243, 81), "sh/motionagformer_l": (*_AGFORMER, 243, 81),
    "sh/motionbert": _MOTIONBERT, "sh/motionbert_lite": _MOTIONBERT,
    "cpn/mixste": ("adamw", 4e-5, 0.1, 0.99, 120, 4, 243, 243),
    "cpn/videopose3d_27": (*_VIDEOPOSE3D, 60, 1024, 27, 1), "cpn/videopose3d_81": (*_VIDEOPOSE3D, 60, 1024, 81, 1),
    "cpn/videopose3d_243": (*_VIDEOPOSE3D, 80, 1024, 243, 1),
    "cpn/stcformer_27": (*_STCFORMER, 27, 3), "cpn/stcformer_81": (*_STCFORMER, 81, 3),
    "cpn/stcformer_243": (*_STCFORMER, 243, 3), "cpn/stcformer_l": (*_STCFORMER, 243, 3),
    "cpn/poseformerv2_27": (*_POSEFORMERV2, 27, 1), "cpn/poseformerv2_81": (*_POSEFORMERV2, 81, 1),
    "cpn/poseformerv2_243": (*_POSEFORMERV2, 243, 1),
    "3dhp/motionagformer_xs": (*_AGFORMER_3DHP, 27, 9), "3dhp/motionagformer_s": (*_AGFORMER_3DHP, 81, 9),
    "3dhp/motionagformer_b": (*_AGFORMER_3DHP, 81, 9), "3dhp/motionagformer_l": (*_AGFORMER_3DHP, 81, 9),
}  # fmt: skip
COMPARATORS |= {
    f"gt/{name}": COMPARATORS[f"{folder}/{name}"]
    for folder, name in (
        ("sh", "motionagformer_xs"), ("sh", "motionagformer_s"), ("sh", "motionagformer_b"),
        ("sh", "motionagformer_l"), ("sh", "motionbert"), ("cpn", "mixste"), ("cpn", "stcformer_243"),
        ("cpn", "videopose3d_243"),
    )
}  # fmt: skip
LOSSES |= dict.fromkeys(("motionagformer", "motionbert"), LOSSES["mdtf"])
LOSSES |= dict.fromkeys(("videopose3d", "stcformer", "poseformerv2"), {"mpjpe": 1})
LOSSES["mixste"] = {"weighted_mpjpe": 1, "temporal_consistency": 0.5, "velocity": 2}
TESTED_BY_OTHERS = {"MPI-INF-3DHP": {"mixste", "stcformer_81"}}  # with no setting published, or another network
PAPERS = [path for path in RECIPES if str(path.parent.relative_to(CONFIGS)) in FOLDERS]
ADDED = {"schedule": "exponential", "warmup_epochs": 0, "clip_gradient": None, "ema": None, "accumulate": 1,
         "precision": "float32", "gradient_checkpointing": False, "total_variation": None,
         "test_stride": 1}  # fmt: skip


def name(path):
    return str(path.relative_to(CONFIGS))


def numbers(recipe):
    return (
        recipe.optimizer, recipe.learning_rate, recipe.weight_decay, recipe.learning_rate_decay, recipe.epochs,
        recipe.batch_size, recipe.frames, recipe.stride,
    )  # fmt: skip


@pytest.mark.parametrize("path", PAPERS, ids=name)
def test_a_recipe_is_the_published_one(path):
    recipe, family = read_recipe(path), path.stem.split("_")[0]
    on_3dhp = path.parent.name == "3dhp"
    expected = ON_3DHP.get(family, ON_3DHP["other"]) if on_3dhp else PUBLISHED[path.stem]
    assert numbers(recipe) == expected
    assert recipe.loss == LOSSES[family] and recipe.flip
    assert (recipe.data, recipe.input) == FOLDERS[str(path.parent.relative_to(CONFIGS))]
    assert recipe.numbers == ({"limb_gradient": "published"} if family == "posemamba" else {})
    settings = recipe.model_dump()
    assert {key: settings[key] for key in ADDED} == ADDED, "what papers do not have is in configs/improved"
    if family == "mdtf":
        first = settings["stage_1"]
        keys = ("learning_rate", "weight_decay", "learning_rate_decay", "epochs", "batch_size")
        assert tuple(first[key] for key in keys) == (STAGE_1_ON_3DHP if on_3dhp else STAGE_1)


@pytest.mark.parametrize("recipe_name", COMPARATORS)
def test_a_comparator_s_recipe_is_the_published_one(recipe_name):
    recipe, (folder, model) = read_recipe(f"comparators/{recipe_name}"), recipe_name.split("/")
    family = model.split("_")[0]
    assert recipe.model == model and numbers(recipe) == COMPARATORS[recipe_name]
    assert recipe.loss == LOSSES[family] and recipe.flip and recipe.numbers == {}
    data, given = FOLDERS[folder]
    videopose3d = family in ("mixste", "videopose3d", "stcformer", "poseformerv2")
    assert (recipe.data, recipe.input) == ("h36m_videopose3d" if videopose3d else data, given)
    settings = recipe.model_dump()
    assert {key: settings[key] for key in ADDED} == ADDED


def test_every_model_of_a_paper_has_its_recipe():
    assert {path.stem for path in PAPERS if path.parent.name in ("sh", "baselines")} == set(PUBLISHED)
    comparators = {name(path)[12:-5] for path in RECIPES if name(path).startswith("comparators/")}
    assert comparators == set(COMPARATORS)
    assert {path.split("/")[1] for path in comparators} == {
        model for model, entry in registry.MODELS.items() if "baselines.models" in entry.builder
    }
    folders = {path.parent.name for path in RECIPES if not name(path).startswith("comparators/")}
    assert folders == {"sh", "baselines", "gt", "cpn", "3dhp", "improved", "mocap", "toy", "lift", "candidates"}


def published_rows():
    """(model, folder, number as written) of every published number of a registered model, at its published length on
    Human3.6M and at the longest one on MPI-INF-3DHP."""
    texts = ["mpjpe_mm", "p_mpjpe_mm", "mpjpe_gt2d_mm"]
    table = pd.read_csv(
        ROOT / "results/reference/published.csv", dtype=dict.fromkeys(texts, str), keep_default_na=False
    )
    folder_of = {("Human3.6M", "SH"): "sh", ("Human3.6M", "CPN"): "cpn", ("MPI-INF-3DHP", "GT"): "3dhp"}
    longest = {row.model + row.variant: row.frames for row in table.itertuples() if row.dataset != "Human3.6M"}
    for row in table.itertuples():
        entry = registry.MODELS.get(registered(row))
        if entry and entry.name not in TESTED_BY_OTHERS.get(row.dataset, ()) and row.detector != "HRNet":
            if row.frames != (entry.frames if row.dataset == "Human3.6M" else longest[row.model + row.variant]):
                continue
            folder = folder_of[row.dataset, row.detector]
            cells = [(folder, row.mpjpe_mm), (folder, row.p_mpjpe_mm), ("gt", row.mpjpe_gt2d_mm)]
            for folder, number in cells:
                if number and "baselines.models" in entry.builder:
                    yield entry.name, f"comparators/{folder}", number
                elif number:
                    yield entry.name, folder, number


@pytest.mark.parametrize(("model", "folder", "number"), list(published_rows()))
def test_every_published_row_has_its_recipe_which_names_the_number(model, folder, number):
    text = (CONFIGS / folder / f"{model}.yaml").read_text()
    assert f" {number} mm" in " ".join(text.split("# Source")[0].split())


@pytest.mark.parametrize(
    "path",
    [path for path in RECIPES if path.parent.name in ("improved", "mocap", "toy", "lift", "candidates")],
    ids=name,
)
def test_our_own_recipes_say_so(path):
    header = " ".join(path.read_text().split("base:")[0].replace("#", " ").split())
    assert "ours" in header and " mm" not in header.split("Expected:")[1]


@pytest.mark.parametrize("path", sorted((CONFIGS / "improved").glob("*.yaml")), ids=name)
def test_an_improved_recipe_stands_next_to_the_published_one(path):
    ours, published = read_recipe(path), read_recipe(CONFIGS / "sh" / path.name)
    assert ours.batch_size > published.batch_size and ours.learning_rate > published.learning_rate
    assert ours.schedule == "cosine" and ours.warmup_epochs and ours.clip_gradient and ours.ema
    same = ("model", "data", "input", "frames", "stride", "loss", "epochs", "flip")
    assert all(getattr(ours, key) == getattr(published, key) for key in same)


def test_models_on_real_motion_see_the_same_clips():
    """All sequence models see the same clips, and so do all centre-frame models."""
    clips = {"sequence": set(), "centre": set()}
    recipes = [read_recipe(path) for path in sorted((CONFIGS / "mocap").glob("*.yaml"))]
    for recipe in recipes:
        clips[registry.entry(recipe.model).output].add((recipe.frames, recipe.stride, recipe.epochs))
    models = {recipe.model for recipe in recipes}
    assert models == {"posemamba_s", "pose3dm_s", "mdtf_tiny", "lstm", "transformer", "mlp"}
    assert [len(settings) for settings in clips.values()] == [1, 1]


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_the_command_of_a_recipe_is_its_own_and_the_readme_lists_it(path):
    assert f"# Command: liftbench train {recipe_name(path.relative_to(CONFIGS))} --data " in path.read_text()
    assert f"`{name(path)}`" in (CONFIGS / "README.md").read_text()
