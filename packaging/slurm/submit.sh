#!/bin/bash
# Submit the parts, and the job that joins them into the complete run once all of them have ended well.  The arguments are
# those of `python -m evalkit`.  RUNS: folder of the parts.  OUT: folder of the complete run (default runs).
#   RUNS=$SCRATCH/runs packaging/slurm/submit.sh model=llava-med task=slake task.path="$DATA"
set -euo pipefail
: "${RUNS:?the folder of the parts, on a file system with locks}"
export RUNS OUT="${OUT:-runs}"
job="$(sbatch --parsable "$(dirname "$0")/array.sh" "$@")"
sbatch --dependency=afterok:"$job" --job-name=evalkit-merge --wrap 'python -m evalkit merge runs="$RUNS" out="$OUT"'
