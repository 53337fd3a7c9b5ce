#!/usr/bin/env bash
# Train a recipe with several processes of this machine: one for each GPU, or as many as PROCESSES says.
#
#     launch/torchrun.sh demo --out runs/demo          PROCESSES=2 launch/torchrun.sh demo --shard all
#
# The arguments are those of `isthmus train`. Ctrl-C and SIGTERM stop all of them at the end of a step, saved; the same
# line with --resume goes on, with this or another number of processes.
set -euo pipefail

gpus=$(nvidia-smi --list-gpus 2> /dev/null | wc -l || true)
PROCESSES=${PROCESSES:-$((gpus > 0 ? gpus : 1))}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(($(nproc) / PROCESSES > 0 ? $(nproc) / PROCESSES : 1))}
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-100} # seconds that a step and a checkpoint may take
export TORCH_CPP_LOG_LEVEL=${TORCH_CPP_LOG_LEVEL:-ERROR} # DDP warns where no sample lacks a picture

exec torchrun --standalone --nproc-per-node "$PROCESSES" --no-python isthmus train "$@"
