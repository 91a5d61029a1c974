#!/usr/bin/env bash
# The main job in a few minutes: TaLoS beside non-linear fine-tuning on three embedded tasks, with
# all eight subcommands. Usage: make demo, or, where talos is on the PATH, recipes/demo.sh [FOLDER].
# A folder that an earlier demo made is replaced, any other is left alone.
set -euo pipefail

out=${1:-demo-output}
here=$(cd "$(dirname "$0")" && pwd)
tasks=(digits shapes textures)
control=letters
steps=${DEMO_STEPS:-50}
methods=(talos nonlinear)

if [ -e "$out" ] && [ ! -e "$out/.made-by-talos-demo" ]; then
  echo "$out exists already and was not made by the demo: make demo OUT=another-folder" >&2
  exit 1
fi
rm -rf "$out"
mkdir -p "$out"
touch "$out/.made-by-talos-demo"
say() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }
named=() # --task for each task
for task in "${tasks[@]}"; do named+=(--task "$task"); done

say "1/8 calibrate: find the 10% of entries that each task is least sensitive to"
for task in "${tasks[@]}"; do
  talos calibrate --model tiny-clip --task "$task" --sparsity 0.9 --batches 1 \
    -o "$out/$task.mask.safetensors"
done

say "2/8 finetune: only those entries (talos), and everything (nonlinear)"
for task in "${tasks[@]}"; do
  talos finetune --model tiny-clip --task "$task" --method talos --steps "$steps" \
    --mask "$out/$task.mask.safetensors" -o "$out/talos.$task.ckpt.safetensors"
  talos finetune --model tiny-clip --task "$task" --method nonlinear --steps "$steps" \
    -o "$out/nonlinear.$task.ckpt.safetensors"
done

say "3/8 vector: what each fine-tuning changed"
for method in "${methods[@]}"; do
  for task in "${tasks[@]}"; do
    talos vector --finetuned "$out/$method.$task.ckpt.safetensors" \
      -o "$out/$method.$task.vector.safetensors"
  done
done

say "4/8 add: one model for all tasks, its coefficient chosen on validation data"
for method in "${methods[@]}"; do
  talos add "$out/$method".*.vector.safetensors --search --grid plain \
    -o "$out/$method.merged.safetensors"
done

say "5/8 negate: forget ${tasks[0]}, keep $control"
for method in "${methods[@]}"; do
  talos negate "$out/$method.${tasks[0]}.vector.safetensors" --search --control "$control" \
    --grid plain -o "$out/$method.${tasks[0]}.negated.safetensors"
done

say "6/8 evaluate: on test data, once"
talos evaluate --model tiny-clip "${named[@]}" --task "$control" -o "$out/zero-shot.json"
for method in "${methods[@]}"; do
  single=()
  for task in "${tasks[@]}"; do single+=(--single "$out/$method.$task.vector.safetensors"); done
  talos evaluate "$out/$method.merged.safetensors" "${named[@]}" "${single[@]}" \
    -o "$out/$method.merged.json"
done
talos evaluate "$out"/*."${tasks[0]}".negated.safetensors --task "${tasks[0]}" \
  --task "$control" -o "$out/${tasks[0]}.negated.json"

say "7/8 disentangle: how much the vectors of ${tasks[0]} and ${tasks[1]} interfere"
for method in "${methods[@]}"; do
  talos disentangle "$out/$method.${tasks[0]}.vector.safetensors" \
    "$out/$method.${tasks[1]}.vector.safetensors" --grid 5 --points 128 \
    --plot "$out/$method.xi.png" -o "$out/$method.xi.json"
done

say "8/8 profile: what a training step costs"
talos profile --model tiny-clip --task "${tasks[0]}" --iters 5 \
  --plot "$out/cost.png" -o "$out/cost.json"

say "What came out (test accuracy, %; tiny-clip is a small model, not OpenAI's CLIP)"
python3 "$here/summarize.py" "$out" --control "$control"
echo
echo "masks         $out/TASK.mask.safetensors"
echo "checkpoints   $out/METHOD.TASK.ckpt.safetensors, METHOD.merged.safetensors, METHOD.TASK.negated.safetensors"
echo "task vectors  $out/METHOD.TASK.vector.safetensors"
echo "metrics       $out/*.json"
echo "pictures      $out/talos.xi.png  $out/nonlinear.xi.png  $out/cost.png"
