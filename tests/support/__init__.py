"""What tests of several folders share."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden"
PUBLISHED = ROOT / "results/reference/published.csv"
