#!/usr/bin/env bash
# The whole benchmark, from data to tables and plots: a list of liftbench commands that can also be typed one by one.
#
#   ./run_all.sh                          toy size on the embedded synthetic data: minutes on a laptop
#   ./run_all.sh --data FILE              the same on a real Human3.6M file in the MotionBERT format
#   ./run_all.sh --data FILE --profile paper      the published settings: hours to days, on a GPU
#
# It may be interrupted and run again: finished steps are skipped. What it makes is in data/, runs/ and results/, which
# git ignores.
set -euo pipefail
cd "$(dirname "$0")"

data=data/synthetic.pkl profile=toy
while [ $# -gt 0 ]; do
  case $1 in
    --data) data=${2:?--data needs a file}; shift 2 ;;
    --profile) profile=${2:?--profile needs toy or paper}; shift 2 ;;
    *) sed -n '2,9p' "$0"; exit 2 ;;
  esac
done
case $profile in
  toy) recipes="toy/posemamba_toy toy/lstm toy/mlp" frames="--frames 9" ;;
  paper)
    recipes="posemamba_s posemamba_b posemamba_l pose3dm_s pose3dm_l mdtf_tiny mdtf_large lstm transformer"
    recipes="$recipes transformer_published mlp" frames= ;;
  *) echo "error: There is no profile '$profile'. Choose toy or paper." >&2; exit 2 ;;
esac
if [ -d "$data" ]; then
  echo "error: Cannot use $data: it is a folder, and these recipes need a file in the MotionBERT format." \
    "See configs/README.md." >&2
  exit 2
fi
models=
for recipe in $recipes; do models="$models ${recipe##*/}"; done
runs=runs/$profile-$(basename "$data" .pkl)

[ -x .venv/bin/python ] || python3 -m venv .venv
[ -x .venv/bin/liftbench ] ||
  .venv/bin/pip install --quiet --disable-pip-version-check --editable . --constraint constraints.txt
PATH=$PWD/.venv/bin:$PATH
SECONDS=0  # which bash counts up from here

# timed COMMAND...: run a command, and print how long it took.
timed() {
  local began=$SECONDS code=0
  echo "\$ $*"
  "$@" || code=$?
  echo "  $((SECONDS - began)) s"
  return $code
}

# step NAME COMMAND...: run a command once; a later run of this script skips it. Exit code 3 is a measurement that a busy
# machine spoiled: it is left to the next run.
step() {
  local done=$runs/.done/$1 code=0
  shift
  if [ -e "$done" ]; then echo "(done before) $*"; return; fi
  timed "$@" || code=$?
  if [ $code = 3 ]; then return; fi
  if [ $code != 0 ]; then exit $code; fi
  mkdir -p "${done%/*}" && touch "$done"
}

timed liftbench doctor
[ -e "$data" ] || [ "$data" != data/synthetic.pkl ] || timed liftbench data synthetic --out "$data"
step check liftbench data check "$data"
step info liftbench data info "$data" --plot results/plots/data.png

for recipe in $recipes; do
  model=${recipe##*/}
  step "train-$model" liftbench train "$recipe" --data "$data" --run "$runs/$model" --resume
  step "evaluate-$model" liftbench evaluate "$runs/$model" --data "$data"
done

seconds=1
if [ $profile = paper ]; then  # of these, results/reference has what a laptop would need an hour for
  seconds=3
  step cost-published liftbench measure cost posemamba_x pose3dm_b
  step cost-official liftbench measure cost pose3dm_s pose3dm_b pose3dm_l --official-layout
  step cost-3dhp liftbench measure cost mdtf_large --frames 81
  step scaling liftbench measure scaling --quick
fi
step cost liftbench measure cost $models $frames
step speed liftbench measure speed $models $frames --seconds $seconds
step speed-training liftbench measure speed $models $frames --training-step --seconds $seconds
step speed-end-to-end liftbench measure speed $models $frames --end-to-end --data "$data" --seconds $seconds
step compare liftbench measure compare posemamba_toy:9 transformer:9 --seconds $seconds
timed liftbench render
for sample in walk dance; do
  timed liftbench lift "lift/samples/$sample.npz" --to html,contact,gif --out "results/lift/$sample"
done

echo
echo "Everything took $((SECONDS / 60)) min $((SECONDS % 60)) s."
echo "Report: results/report.html (all tables and plots in one file)"
echo "Tables: results/tables/overview.md and others beside it (also as CSV and LaTeX)"
echo "Plots:  results/plots/*.png"
echo "People: results/lift/*/lift.html (to turn in 3D; contact.png and lift.gif beside it)"
echo "Runs:   $runs (weights and logs; draw their curves with .venv/bin/tensorboard --logdir $runs)"
