"""Find a recipe by path or by name, and read it with the settings that it inherits from its base."""

import difflib
import importlib.resources
import os
from pathlib import Path
from typing import Any

from liftbench.baselines.errors import InputError
from liftbench.baselines.files import read_yaml
from liftbench.baselines.registry import located

CONFIGS = Path(str(importlib.resources.files("liftbench.configs")))
_PLAIN = (["sh"], ["baselines"])  # folders that the names of their recipes omit


def recipes() -> dict[str, Path]:
    """Return the files of the recipes that come with liftbench by their names, such as `lstm` and `mocap/lstm`."""
    return {recipe_name(path.relative_to(CONFIGS)): path for path in sorted(CONFIGS.rglob("*.yaml"))}


def recipe_name(path: Path) -> str:
    """Return the name of a recipe by its path in the folder of recipes: `lstm` for baselines/lstm.yaml."""
    *folders, name = path.with_suffix("").parts
    return "/".join([*(() if folders[:1] in _PLAIN else folders), name])


def find_recipe(recipe: str | Path) -> Path:
    """Return the file of a recipe: a path that exists, or else the recipe of liftbench with that name.

    A name may omit its folder if no other recipe shares it: `posemamba_toy` is `toy/posemamba_toy`. Raises InputError
    for an unknown name; the message lists similar ones.
    """
    if os.path.isfile(recipe):  # False too where a path is too long or closed; Path.is_file would raise
        return Path(recipe)
    if found := _named(str(recipe)):
        return found
    names = recipes()
    words = [*names, *(name.rpartition("/")[2] for name in names)]
    near = dict.fromkeys(difflib.get_close_matches(str(recipe).removesuffix(".yaml"), words, n=3))
    hint = f"Did you mean {' or '.join(near)}?" if near else "Give its path, or a name such as mocap/lstm."
    raise InputError(f"Cannot read the recipe {recipe}: there is no such file and no recipe of that name. {hint}")


def read_settings(path: str | Path) -> dict[str, Any]:
    """Return the settings of a recipe file, laid over those of its `base`, and so on.

    base: a path from the recipe's own folder, in it or in the folder above, or the name of a recipe of liftbench. A
    setting replaces that of the base as a whole; null removes it. A model path/to/file.py:build is relative to the
    folder of the recipe that names it. Raises InputError for a base that is missing, lies outside or leads back to its
    own recipe, and for a file that is not YAML.
    """
    path, seen, settings = Path(path), [], {}
    while True:
        seen.append(path.resolve())
        own = read_yaml(path, "the recipe")
        if isinstance(own.get("model"), str):
            own["model"] = located(own["model"], path.parent)
        settings = own | settings
        base = settings.pop("base", None)
        if base is None:
            return settings
        base = _base(path, base)
        if base.resolve() in seen:
            raise InputError(f"Cannot read the recipe {path}: its base {base} leads back to it. Remove that line.")
        path = base


def _base(path: Path, base: Any) -> Path:
    if not isinstance(base, str):
        raise InputError(f"Cannot read the recipe {path}: its base is not a path. Write base: posemamba_s.")
    beside = path.parent / base
    if not os.path.isfile(beside):
        if found := _named(base):
            return found
        raise InputError(f"Cannot read the recipe {path}: its base {base[:80]} is missing. Correct the path.")
    if not beside.resolve().is_relative_to(path.resolve().parent.parent):
        raise InputError(
            f"Cannot read the recipe {path}: its base {base} is outside of its folder and the one above. Copy it there."
        )
    return beside


def _named(name: str) -> Path | None:
    """Return the file of a recipe of liftbench, or None."""
    files = recipes()
    if name in files:
        return files[name]
    same = [path for path in files.values() if path.as_posix().endswith(f"/{name}.yaml")]
    return same[0] if len(same) == 1 else None
