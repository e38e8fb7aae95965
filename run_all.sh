#!/usr/bin/env bash
# The whole benchmark, from data to tables and plots: a list of liftbench commands that can also be typed one by one.
#
#   ./run_all.sh                          toy size on the embedded synthetic data, minutes on a laptop
#   ./run_all.sh --data FILE              the same on a real Human3.6M file in the MotionBERT format
#   ./run_all.sh --data FILE --profile paper      the published settings (hours to days, on a GPU)
#
# It may be interrupted and run again: finished steps are not repeated. Everything it makes stands in runs/ and results/.
set -euo pipefail
cd "$(dirname "$0")"

data=data/synthetic.pkl profile=toy
while [ $# -gt 0 ]; do
  case $1 in
    --data) data=${2:?--data needs a file}; shift 2 ;;
    --profile) profile=${2:?--profile needs toy or paper}; shift 2 ;;
    *) sed -n '2,8p' "$0"; exit 2 ;;
  esac
done
case $profile in
  toy) configs=configs/toy models="posemamba_toy lstm transformer mlp" frames="--frames 27" ;;
  paper)
    configs=configs frames=
    models="posemamba_s posemamba_b posemamba_l pose3dm_s pose3dm_l mdtf_tiny mdtf_large lstm transformer transformer_published mlp" ;;
  *) echo "error: there is no profile '$profile'; choose toy or paper" >&2; exit 2 ;;
esac
if [ -d "$data" ]; then
  echo "error: $data is a folder, and these recipes are for a file in the MotionBERT format; see configs/README.md" >&2
  exit 2
fi
runs=runs/$profile-$(basename "$data" .pkl)

[ -x .venv/bin/python ] || python3 -m venv .venv
[ -x .venv/bin/liftbench ] ||
  .venv/bin/pip install --quiet --disable-pip-version-check --editable . --constraint constraints.txt
PATH=$PWD/.venv/bin:$PATH

# step NAME COMMAND...: run a command once; a later run of this script skips it. Exit code 3 is a measurement that a busy
# machine spoiled: it is left to the next run.
step() {
  local done=$runs/.done/$1
  shift
  if [ -e "$done" ]; then echo "(done before) $*"; return; fi
  echo "\$ $*"
  local code=0
  "$@" || code=$?
  if [ $code = 3 ]; then return; fi
  if [ $code != 0 ]; then exit $code; fi
  mkdir -p "${done%/*}" && touch "$done"
}

liftbench doctor
[ -e "$data" ] || [ "$data" != data/synthetic.pkl ] || liftbench data synthetic --out "$data"
step check liftbench data check "$data"
step info liftbench data info "$data" --plot results/plots/data.png

for model in $models; do
  step "train-$model" liftbench train "$configs/$model.yaml" --data "$data" --run "$runs/$model" --resume
  step "evaluate-$model" liftbench evaluate "$runs/$model" --data "$data"
done

step cost liftbench measure cost $models $frames
if [ $profile = paper ]; then  # minutes; counts are the same everywhere, and results/records holds them
  step cost-published liftbench measure cost posemamba_x pose3dm_b
  step cost-official liftbench measure cost pose3dm_s pose3dm_b pose3dm_l --official-layout
  step cost-3dhp liftbench measure cost mdtf_large --frames 81
fi
step speed liftbench measure speed $models $frames --seconds 3
step speed-published liftbench measure speed posemamba_s posemamba_b pose3dm_s lstm transformer mlp --seconds 3
step speed-training liftbench measure speed $models $frames --training-step --seconds 1
step speed-end-to-end liftbench measure speed $models $frames --end-to-end --data "$data" --seconds 1
step compare liftbench measure compare posemamba_toy:27 transformer:27 --seconds 3
step scaling liftbench measure scaling --quick
liftbench render

echo
echo "Report: results/report.html (all tables and plots in one file)"
echo "Tables: results/tables/comparison.md and others beside it (also as CSV and LaTeX)"
echo "Plots:  results/plots/*.png (and SVG)"
echo "Runs:   $runs (weights, logs; curves with: .venv/bin/tensorboard --logdir $runs)"
