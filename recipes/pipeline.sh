#!/usr/bin/env bash
# A pipeline as users write it: every command prints the path that it wrote.
set -euo pipefail
for t in digits mnist shapes; do
  mask=$(talos calibrate --model tiny-clip --task $t --sparsity 0.9 -o $t.mask.safetensors)
  ckpt=$(talos finetune --model tiny-clip --task $t --method talos --mask $mask -o $t.ckpt.safetensors)
  talos vector --model tiny-clip --finetuned $ckpt -o $t.vector.safetensors
done
talos add *.vector.safetensors --model tiny-clip --search --task digits --task mnist --task shapes -o merged.safetensors
talos evaluate merged.safetensors --model tiny-clip --task digits --task mnist --task shapes --json | jq .mean
