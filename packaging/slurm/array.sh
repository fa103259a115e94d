#!/bin/bash
#SBATCH --job-name=evalkit
#SBATCH --array=1-8
#SBATCH --gpus-per-task=1 --cpus-per-task=8 --mem=64G --time=02:00:00
#SBATCH --requeue
#SBATCH --output=evalkit-%A_%a.log
# One part of a run in each task of the array; a part that was stopped resumes where it was.
#   RUNS=$SCRATCH/runs packaging/slurm/submit.sh model=llava-med task=slake task.path="$DATA"
set -euo pipefail
: "${RUNS:?the folder of the parts, on a file system with locks}"
srun python -m evalkit "$@" out="$RUNS" engine.shard="${SLURM_ARRAY_TASK_ID}/${SLURM_ARRAY_TASK_COUNT}"
