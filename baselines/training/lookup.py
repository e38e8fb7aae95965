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


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with liftbench, such as `lstm` and `mocap/lstm`."""
    return sorted(path.relative_to(CONFIGS).with_suffix("").as_posix() for path in CONFIGS.rglob("*.yaml"))


def find_recipe(recipe: str | Path) -> Path:
    """Return the file of a recipe: a path that exists, or else the recipe of liftbench with that name.

    A name may omit its folder if no other recipe shares it: `posemamba_toy` is `toy/posemamba_toy`. Raises InputError
    for an unknown name; the message lists similar ones.
    """
    if os.path.isfile(recipe):  # False too where a path is too long or closed; Path.is_file would raise
        return Path(recipe)
    if found := _named(str(recipe)):
        return found
    names = recipe_names()
    words = names + [name.rpartition("/")[2] for name in names]
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
            raise InputError(f"Cannot read the recipe {path}: its base {base} leads back to it. Take that line away.")
        path = base


def _base(path: Path, base: Any) -> Path:
    if not isinstance(base, str):
        raise InputError(f"Cannot read the recipe {path}: its base is not a path. Write base: ../posemamba_s.yaml.")
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
    names = recipe_names()
    full = [name] if name in names else [other for other in names if other.endswith(f"/{name}")]
    return CONFIGS / f"{full[0]}.yaml" if len(full) == 1 else None
