#!/usr/bin/env bash
# Installs liftbench with its test tools into .venv, and runs the tests. Arguments go to pytest: ./run_tests.sh -k loader
set -euo pipefail
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}  # idle threads sleep: tests on a busy machine stay fast
unset PYTHONDONTWRITEBYTECODE  # every process would compile all sources and tests again, for ten seconds
cd "$(dirname "$0")"
[ -x .venv/bin/python ] || python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]' --constraint constraints.txt
exec .venv/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal "$@"
