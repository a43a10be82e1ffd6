#!/bin/bash
#SBATCH --job-name=pixelcnnpp
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --time=04:00:00
#SBATCH --requeue

# Submit it where the run folder and the images are, on a disk that all machines see.
export KERAS_BACKEND=jax
WORKERS=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed 's/$/:2222/' | paste -sd,)
export WORKERS

# The same job again, after its time was up or a machine was lost, goes on.
RESUME=
[ -e runs/mine/config.json ] && RESUME=--resume
export RESUME

srun --kill-on-bad-exit=1 bash -c \
    'pixelcnnpp train pixelcnnpp --data images --run runs/mine $RESUME --workers "$WORKERS" --worker "$SLURM_PROCID"'
