#!/usr/bin/env bash
# Installs liftbench with its test tools into .venv, and runs the tests. Arguments go to pytest: ./run_tests.sh -k loader
set -euo pipefail
cd "$(dirname "$0")"
[ -x .venv/bin/python ] || python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]' --constraint constraints.txt
exec .venv/bin/python -m pytest "$@"
