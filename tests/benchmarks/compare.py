"""Did our scans become slower? Compare two stored runs of the benchmarks by ratios, not by times.

    python tests/benchmarks/compare.py BEFORE.json AFTER.json [--allowed 0.8]

For every shape that both runs have, the ratio is the time of `chunked` (of the unfused scan for a grid) over that of
`cpu` (of the fused one): minima of one run, so that a slower machine cancels out. Exit code 1 if one fell below
`allowed` times what it was, 2 for files that cannot be compared.
"""

import argparse
import json
import sys
from pathlib import Path

PAIRS = (("chunked", "cpu"), ("cpu, unfused", "cpu, fused"))


def ratios(path):
    """Return {group: baseline's time over ours} for a file that --benchmark-autosave wrote."""
    try:
        benchmarks = json.loads(Path(path).read_text())["benchmarks"]
        times = {(one["group"], one["params"]["name"]): one["stats"]["min"] for one in benchmarks}
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(_refuse(f"{path} is not a stored run of pytest-benchmark ({error.__class__.__name__})"))
    return {
        group: times[group, baseline] / time
        for baseline, ours in PAIRS
        for (group, name), time in times.items()
        if name == ours and (group, baseline) in times
    }


def _refuse(sentence):
    print(f"error: {sentence}", file=sys.stderr)
    return 2


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--allowed", type=float, default=0.8, help="share of the ratio that must be left")
    options = parser.parse_args(arguments)
    before, after = ratios(options.before), ratios(options.after)
    common = [group for group in before if group in after]
    if not common:
        return _refuse(f"{options.before} and {options.after} have no ratio in common; run the same benchmarks")
    lost = [group for group in common if after[group] < options.allowed * before[group]]
    for group in common:
        print(f"{group}: {before[group]:.3g} -> {after[group]:.3g}{'  LOST' if group in lost else ''}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
