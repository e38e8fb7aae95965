"""Recipes by path and by name, and what they inherit."""

import json

import pytest

from liftbench.baselines.errors import InputError
from liftbench.baselines.training.lookup import CONFIGS, find_recipe, read_settings, recipes
from liftbench.baselines.training.recipe import read_recipe
from support import GOLDEN

RESOLVED = json.loads((GOLDEN / "recipes.json").read_text())


@pytest.mark.parametrize("name", RESOLVED)
def test_a_recipe_resolves_to_what_it_was_when_each_was_written_in_full(name):
    """All recipes but the toy ones, which are tuned to current machines."""
    assert read_recipe(name).model_dump(exclude_defaults=True) == RESOLVED[name]


def test_the_table_above_is_complete():
    """Recipes of comparators and of `liftbench lift` were never written in full; `test_recipes.py` has a
    table of them.
    """
    assert {name for name in recipes() if not name.startswith(("toy/", "comparators/", "lift/"))} == set(RESOLVED)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("lstm", "baselines/lstm.yaml"),
        ("baselines/lstm", "baselines/lstm.yaml"),
        ("posemamba_s", "sh/posemamba_s.yaml"),
        ("mocap/lstm", "mocap/lstm.yaml"),
        ("posemamba_toy", "toy/posemamba_toy.yaml"),
        ("toy/posemamba_toy", "toy/posemamba_toy.yaml"),
    ],
)
def test_by_name(name, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_recipe(name) == CONFIGS / file


def test_a_path_that_exists_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lstm").write_text("base: mocap/lstm\nepochs: 3\n")
    assert read_recipe("lstm").epochs == 3


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("posemamba_toi", "Did you mean posemamba_toy"),
        ("mocap/lsmt", "Did you mean mocap/lstm"),
        ("posemamba_s.yaml", "Did you mean posemamba_s"),
        ("qqqq", "Give its path, or a name such as"),
        ("../configs/lstm", "Did you mean"),
    ],
)
def test_unknown_names(name, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"Cannot read the recipe {name}: there is no such file .*{hint}"):
        find_recipe(name)


@pytest.fixture
def write(tmp_path):
    """Write recipe files, {path in a folder: text}, and return the path of the first."""

    def write_files(**texts):
        for path, text in texts.items():
            file = tmp_path / f"{path.replace('__', '/')}.yaml"
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        return tmp_path / f"{next(iter(texts)).replace('__', '/')}.yaml"

    return write_files


def test_a_chain_of_bases(write):
    """Each replaces whole settings, and null removes one."""
    path = write(
        sub__last="base: ../middle.yaml\nepochs: 3\nloss: {mpjpe: 2}",
        middle="base: toy/mlp\nepochs: 2\nschedule: cosine\nlearning_rate_decay: null",
    )
    recipe, first = read_recipe(path), read_recipe("toy/mlp")
    changed = {"epochs": 3, "loss": {"mpjpe": 2}, "schedule": "cosine", "learning_rate_decay": None}
    assert recipe == first.model_copy(update=changed)
    assert read_recipe(path, epochs=5).epochs == 5


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": "base: none.yaml"}, "a.yaml: its base none.yaml is missing"),
        ({"a": "base: b.yaml", "b": "base: a.yaml"}, "b.yaml: its base .*a.yaml leads back to it"),
        ({"a": "base: a.yaml"}, "a.yaml: its base .*a.yaml leads back to it"),
        ({"a": "base: [b.yaml]"}, "a.yaml: its base is not a path"),
        ({"a__b__c": "base: ../../d.yaml", "d": ""}, "c.yaml: its base ../../d.yaml is outside of its folder"),
        ({"a": "base: /etc/hostname"}, "a.yaml: its base /etc/hostname is outside of its folder"),
        ({"a": "base: b.yaml", "b": "["}, "Cannot read the recipe .*b.yaml"),
        ({"a": f"base: {'k' * 1000}"}, "a.yaml: its base k{80} is missing"),
    ],
)
def test_bases_that_cannot_be(write, tmp_path, files, message):
    (tmp_path / "a/b").mkdir(parents=True)
    with pytest.raises(InputError, match=message) as refused:
        read_settings(write(**files))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("epochs: true", "key epochs: it should be a valid integer"),
        ("epochs: '2'", "key epochs: it should be a valid integer, not the text '2'"),
        ("epochs: 2.0", "key epochs: it should be a valid integer"),
        ("learning_rate: 1e-3", r"key learning_rate: .* not the text '1e-3'. Write 2.0e-4"),
        ("learning_rate: false", "key learning_rate: it should be a valid number"),
        ("flip: 1", "key flip: it should be a valid boolean"),
        ("flip: !!bool foo", "Cannot read the recipe"),
        ("ema: !!float ''", "Cannot read the recipe"),
        ("numbers: !!map [a, b]", "Cannot read the recipe"),
    ],
)
def test_values_are_taken_as_they_are_written(write, line, message):
    with pytest.raises(InputError, match=message):
        read_recipe(write(a=f"base: toy/mlp\n{line}"))
