"""The weights that come with liftbench: how they were made stands in README.md beside them."""

from pathlib import Path

SETS = ("accurate", "fast")


def shipped(weights: str | Path) -> Path:
    """The file of the weights called so, or else the path that was given."""
    return Path(__file__).with_name(f"{weights}.safetensors") if weights in SETS else Path(weights)
