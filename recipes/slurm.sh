#!/usr/bin/env bash
# A recipe as a SLURM job on one node: one step per GPU at a time. A job that reaches its time limit
# is sent SIGTERM, ends its steps, and queues itself again: the run goes on where it stopped.
# Usage: sbatch recipes/slurm.sh recipes/paper/vit-table1.toml RUN_FOLDER [more options of talos run]
#SBATCH --job-name=talos
#SBATCH --nodes=1
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@300
set -euo pipefail

recipe=${1:?usage: sbatch recipes/slurm.sh RECIPE.toml RUN_FOLDER [options]}
folder=${2:?usage: sbatch recipes/slurm.sh RECIPE.toml RUN_FOLDER [options]}
shift 2

status=0
srun talos run "$recipe" --out "$folder" --jobs 1 --keep-going "$@" || status=$?
if [ "$status" -eq 143 ]; then # terminated: time was up
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
