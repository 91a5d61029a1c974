#!/usr/bin/env bash
# The README's table: TaLoS, non-linear fine-tuning and a random mask as control, over the embedded
# tasks that are everywhere (fashion needs a Debian package; name it in TASKS to add it) and three
# seeds. The learning rates are those of the published table, not today's searched defaults. Two jobs
# at a time, one thread each; run it again to go on after a stop.
# Usage: recipes/table.sh [OUTPUT_FOLDER]
#        (SEEDS="0 1 2" JOBS=2 STEPS=120 SPARSITY=0.9 TASKS="counts digits …")
set -euo pipefail

out=${1:-table-output}
here=$(cd "$(dirname "$0")" && pwd)
control=letters
export OMP_WAIT_POLICY=PASSIVE # two jobs on two cores must not spin for each other
export STEPS=${STEPS:-120} SPARSITY=${SPARSITY:-0.9} control out
seeds=${SEEDS:-0 1 2}
jobs=${JOBS:-2}
methods="talos nonlinear random"

tasks=${TASKS:-counts digits mnist shapes signs textures}
mkdir -p "$out"
settings="steps $STEPS, sparsity $SPARSITY, tasks $tasks, control $control"
[ -e "$out/settings.txt" ] || echo "$settings" >"$out/settings.txt"
if [ "$(cat "$out/settings.txt")" != "$settings" ]; then
  echo "$out was made with other settings: $(cat "$out/settings.txt")" >&2
  exit 1
fi
echo "tasks:" $tasks "· control: $control · seeds: $seeds" >&2

# Runs a command unless its output, the word after -o, is there already.
once() {
  local previous="" target=""
  for word in "$@"; do
    [ "$previous" = -o ] && target=$word
    previous=$word
  done
  [ -e "$target" ] || "$@" --quiet --threads 1 >/dev/null
}

# One task and one seed: masks, checkpoints, vectors, negation and its test.
one_task() {
  local seed=$1 task=$2 folder="$out/seed$1" method rule kind
  mkdir -p "$folder"
  for rule in talos random; do
    once talos calibrate --model tiny-clip --task "$task" --sparsity "$SPARSITY" --method "$rule" \
      --seed "$seed" -o "$folder/$rule.$task.mask.safetensors"
  done
  for method in talos nonlinear random; do
    kind=(--method talos --lr 1e-3 --mask "$folder/$method.$task.mask.safetensors")
    [ "$method" = nonlinear ] && kind=(--method nonlinear --lr 3e-4)
    once talos finetune --model tiny-clip --task "$task" "${kind[@]}" --steps "$STEPS" \
      --seed "$seed" -o "$folder/$method.$task.ckpt.safetensors"
    [ -e "$folder/$method.$task.vector.safetensors" ] ||
      talos vector --finetuned "$folder/$method.$task.ckpt.safetensors" --quiet \
        -o "$folder/$method.$task.vector.safetensors" >/dev/null
    once talos negate "$folder/$method.$task.vector.safetensors" --search --control "$control" \
      -o "$folder/$method.$task.negated.safetensors"
  done
  once talos evaluate "$folder"/*."$task".negated.safetensors --task "$task" \
    --task "$control" -o "$folder/$task.negated.json"
  echo "seed $seed, $task: done" >&2
}

# One method and one seed: addition over all tasks and its test.
one_merge() {
  local seed=$1 method=$2 folder="$out/seed$1" task
  local vectors=() flags=()
  for task in $tasks; do
    vectors+=("$folder/$method.$task.vector.safetensors")
    flags+=(--task "$task" --single "$folder/$method.$task.vector.safetensors")
  done
  once talos add "${vectors[@]}" --search -o "$folder/$method.merged.safetensors"
  once talos evaluate "$folder/$method.merged.safetensors" "${flags[@]}" \
    -o "$folder/$method.merged.json"
  echo "seed $seed, $method merged: done" >&2
}

export -f once one_task one_merge
export tasks
zero_shot=()
for task in $tasks $control; do zero_shot+=(--task "$task"); done
for seed in $seeds; do
  mkdir -p "$out/seed$seed"
  once talos evaluate --model tiny-clip "${zero_shot[@]}" -o "$out/seed$seed/zero-shot.json"
done
for seed in $seeds; do for task in $tasks; do echo "$seed $task"; done; done |
  xargs -P "$jobs" -L 1 bash -euo pipefail -c 'one_task "$0" "$1"'
for seed in $seeds; do for method in $methods; do echo "$seed $method"; done; done |
  xargs -P "$jobs" -L 1 bash -euo pipefail -c 'one_merge "$0" "$1"'

folders=()
for seed in $seeds; do folders+=("$out/seed$seed"); done
python3 "$here/summarize.py" "${folders[@]}" --control "$control" --per-task
